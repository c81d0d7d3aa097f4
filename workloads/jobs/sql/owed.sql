select switchyard.owed($1, $2)
