select switchyard.complete_for_now($1, $2, $3, $4, $5, $6)
