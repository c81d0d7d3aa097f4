-- The events of an analysis are numbered from 1 without gaps, and the last one has its terminal
-- state. The first event repeats the job and may be missing.
select j.id::text as subject,
    format('is %s with %s events; %s after the first are stored; the last has number %s and state %s', j.state, j.seq,
        count(e.seq), max(e.seq), (array_agg(e.state order by e.seq desc))[1]) as detail
from switchyard.jobs j left join switchyard.events e on e.job_id = j.id and e.seq > 1
where j.parent_id is null
group by j.id
having count(e.seq) <> j.seq - 1 or coalesce(max(e.seq), 1) <> j.seq
    or (j.finished_at is not null and (array_agg(e.state order by e.seq desc))[1] is distinct from j.state)
