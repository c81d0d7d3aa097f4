select to_jsonb(true) from switchyard.recovered($1, $2, $3)
