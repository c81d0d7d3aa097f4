select switchyard.tenant_events_after($1, $2, $3)
