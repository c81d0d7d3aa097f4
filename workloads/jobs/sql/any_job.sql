select switchyard.any_job($1)
