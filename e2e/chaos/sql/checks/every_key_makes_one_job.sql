-- All submissions with the same idempotency key create at most one job, and every response names
-- it.
select format('%s of tenant %s', r.key, r.tenant_id) as subject,
    format('responses named %s jobs, and %s exist for %s', count(distinct r.job_id),
        (select count(*) from switchyard.jobs j where j.tenant_id = r.tenant_id and j.username = r.username and j.origin = 'api'), r.username) as detail
from chaos.requests r
where r.key is not null
group by r.tenant_id, r.key, r.username
having count(distinct r.job_id) > 1
    or (select count(*) from switchyard.jobs j where j.tenant_id = r.tenant_id and j.username = r.username and j.origin = 'api') > 1
