select switchyard.pause($1, $2, $3)
