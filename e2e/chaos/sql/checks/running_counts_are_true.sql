-- A tenant's running counter equals its number of unfinished submitted analyses.
select t.id::text as subject, format('counts %s; %s have not ended', t.running, count(j.id)) as detail
from switchyard.tenants t
left join switchyard.jobs j on j.tenant_id = t.id and j.origin = 'api' and j.finished_at is null
group by t.id
having t.running <> count(j.id)
