select to_jsonb(true) from switchyard.worker_seen($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
