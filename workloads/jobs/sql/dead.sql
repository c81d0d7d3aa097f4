select switchyard.dead_jobs($1)
