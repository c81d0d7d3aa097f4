select switchyard.retain($1, $2, $3, $4)
