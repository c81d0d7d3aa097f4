select switchyard.tenant_page($1, $2, $3)
