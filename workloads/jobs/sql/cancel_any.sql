select switchyard.cancel_any($1)
