-- A tenant has at most one analysis per submission.
with submitted as (
    select tenant_id, username, count(*) as requests from chaos.requests where key is null group by tenant_id, username
), created as (
    select tenant_id, username, count(*) as jobs from switchyard.jobs where origin = 'api' group by tenant_id, username
)
select format('%s of tenant %s', m.username, m.tenant_id) as subject, format('%s jobs were created by %s requests', m.jobs, coalesce(a.requests, 0)) as detail
from created m left join submitted a using (tenant_id, username)
where m.jobs > coalesce(a.requests, 0)
  and not exists (select from chaos.requests r where r.tenant_id = m.tenant_id and r.username = m.username and r.key is not null)
