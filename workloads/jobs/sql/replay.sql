select switchyard.replay($1, $2)
