select switchyard.heartbeat($1, $2, $3)
