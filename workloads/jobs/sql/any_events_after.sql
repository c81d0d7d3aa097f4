select switchyard.any_events_after($1, $2)
