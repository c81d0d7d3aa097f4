select switchyard.tenant_report($1)
