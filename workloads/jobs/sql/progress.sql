select switchyard.progress($1, $2, $3, $4)
