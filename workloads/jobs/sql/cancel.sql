select switchyard.cancel($1, $2)
