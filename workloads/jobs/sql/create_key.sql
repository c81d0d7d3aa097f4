select to_jsonb(switchyard.create_key($1, $2, $3))
