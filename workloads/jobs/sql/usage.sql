select jsonb_build_object('tier', tier, 'credits', credits, 'running', running,
    'today', case when day = (now() at time zone 'utc')::date then today else 0 end)
from switchyard.tenants where id = $1
