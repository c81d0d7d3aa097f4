select jsonb_build_object('id', t.id, 'name', t.name, 'tier', t.tier)
from switchyard.api_keys k join switchyard.tenants t on t.id = k.tenant_id
where k.hash = $1 and k.revoked_at is null
