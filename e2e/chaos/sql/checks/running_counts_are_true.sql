-- A tenant's running count is the number of analyses that it asked for and that have not ended.
select t.id::text as subject, format('counts %s, and %s have not ended', t.running, count(j.id)) as detail
from switchyard.tenants t
left join switchyard.jobs j on j.tenant_id = t.id and j.origin = 'api' and j.finished_at is null
group by t.id
having t.running <> count(j.id)
