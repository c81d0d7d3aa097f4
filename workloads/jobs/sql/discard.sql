select to_jsonb(switchyard.discard($1))
