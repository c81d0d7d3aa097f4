select switchyard.tenant_result($1, $2)
