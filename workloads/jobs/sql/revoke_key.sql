select to_jsonb(switchyard.revoke_key($1, $2))
