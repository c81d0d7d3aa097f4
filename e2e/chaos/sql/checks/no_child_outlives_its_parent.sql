-- When a job ends, all its children have ended and do not change afterwards.
select c.id::text as subject, format('is %s, and its parent %s is %s', c.state, p.id, p.state) as detail
from switchyard.jobs c join switchyard.jobs p on p.id = c.parent_id
where c.finished_at is null and p.finished_at is not null
union all
select c.id::text, format('has a missing parent %s', c.parent_id)
from switchyard.jobs c
where c.parent_id is not null and not exists (select from switchyard.jobs p where p.id = c.parent_id)
union all
select later.job_id::text, format('became %s after its parent %s had become %s', later.after, ending.job_id, ending.after)
from chaos.history created
join chaos.history ending on ending.job_id = created.parent_id and chaos.ended(ending.after) and ending.at > created.at
join chaos.history later on later.job_id = created.job_id and later.at > ending.at and later.after is not null
where created.before is null and created.parent_id is not null
