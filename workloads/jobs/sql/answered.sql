select case when request_hash = $3 then answer || '{"outcome": "replayed"}' else '{"outcome": "idempotency_conflict"}'::jsonb end
from switchyard.idempotency
where tenant_id = $1 and key = $2 and created_at > now() - interval '24 hours'
