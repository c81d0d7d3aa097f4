-- A follower that completed has the result of its leader.
select f.id::text as subject,
    format('followed %s to completion, which is %s and has %s result', t.follows, coalesce(l.state, 'missing'),
        case when lo.job_id is null then 'no' else 'a different' end) as detail
from switchyard.jobs f
join chaos.transitions t on t.job_id = f.id and t.after = 'completed' and t.follows is not null
left join switchyard.jobs l on l.id = t.follows
left join switchyard.outputs lo on lo.job_id = l.id
left join switchyard.outputs fo on fo.job_id = f.id
where l.state is distinct from 'completed' or lo.output is distinct from fo.output
