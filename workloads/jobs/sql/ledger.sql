select switchyard.tenant_ledger($1, $2, $3)
