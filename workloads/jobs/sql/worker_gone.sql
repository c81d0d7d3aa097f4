select to_jsonb(true) from switchyard.worker_gone($1)
