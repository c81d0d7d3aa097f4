select switchyard.tenant_answer($1, $2, $3)
