-- However often a submission was repeated under its idempotency key, it made one job at most, and every answer named that one.
select format('%s of tenant %s', r.key, r.tenant_id) as subject,
    format('answers named %s jobs, and %s were made for %s', count(distinct r.job_id),
        (select count(*) from switchyard.jobs j where j.tenant_id = r.tenant_id and j.username = r.username and j.origin = 'api'), r.username) as detail
from chaos.requests r
where r.key is not null
group by r.tenant_id, r.key, r.username
having count(distinct r.job_id) > 1
    or (select count(*) from switchyard.jobs j where j.tenant_id = r.tenant_id and j.username = r.username and j.origin = 'api') > 1
