select switchyard.tenant_latest_result($1, $2)
