select switchyard.any_ledger($1, $2, $3)
