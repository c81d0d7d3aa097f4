select switchyard.due($1, $2)
