select switchyard.replay($1)
