select switchyard.claimable_queues($1, $2)
