-- Every job that a caller was told of by a 202 is in the table, as that caller's.
select r.job_id::text as subject, format('tenant %s was told of it, and it is not there', r.tenant_id) as detail
from chaos.requests r
where r.job_id is not null
  and not exists (select from switchyard.jobs j where j.id = r.job_id and j.tenant_id = r.tenant_id and j.username = r.username)
