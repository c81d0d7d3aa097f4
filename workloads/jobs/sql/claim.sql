select switchyard.claim($1, $2, $3, $4)
