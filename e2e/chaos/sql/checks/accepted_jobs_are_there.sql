-- Every job in a 202 response exists and belongs to the caller.
select r.job_id::text as subject, format('was accepted for tenant %s and does not exist', r.tenant_id) as detail
from chaos.requests r
where r.job_id is not null
  and not exists (select from switchyard.jobs j where j.id = r.job_id and j.tenant_id = r.tenant_id and j.username = r.username)
