select switchyard.fail($1, $2, $3, $4, $5)
