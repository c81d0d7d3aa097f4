-- A round of a job ends once. Only a replayed dead analysis leaves a terminal state.
select job_id::text as subject, format('round %s ended %s times: %s', round, count(*), string_agg(after, ', ' order by n)) as detail
from chaos.transitions
where chaos.ended(after) and before is distinct from after
group by job_id, round
having count(*) > 1
union all
select job_id::text, format('went from %s to %s', before, after)
from chaos.transitions
where chaos.ended(before) and after <> before and not (before = 'dead' and after = 'queued' and parent_id is null)
