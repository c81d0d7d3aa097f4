select switchyard.job_report($1)
