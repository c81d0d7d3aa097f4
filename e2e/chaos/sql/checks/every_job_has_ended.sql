-- After the run has settled, every job is in a terminal state.
select id::text as subject, format('%s %s in lane %s is still %s (stage %s, attempt %s)', origin, kind, lane, state, stage, attempt) as detail
from switchyard.jobs
where finished_at is null or not chaos.ended(state)
