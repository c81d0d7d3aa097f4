select switchyard.tenant_job($1, $2)
