select switchyard.release($1, $2)
