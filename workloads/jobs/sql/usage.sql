select switchyard.tenant_usage($1)
