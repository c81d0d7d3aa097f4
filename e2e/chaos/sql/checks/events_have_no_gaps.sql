-- The events of an analysis are numbered from 1 without gaps, and the last one tells its end. The first, which says no more than the job itself, need
-- not be kept.
select j.id::text as subject,
    format('is %s with %s events; %s of those after the first are kept; the last is number %s and says %s', j.state, j.seq,
        count(e.seq), max(e.seq), (array_agg(e.state order by e.seq desc))[1]) as detail
from switchyard.jobs j left join switchyard.events e on e.job_id = j.id and e.seq > 1
where j.parent_id is null
group by j.id
having count(e.seq) <> j.seq - 1 or coalesce(max(e.seq), 1) <> j.seq
    or (j.finished_at is not null and (array_agg(e.state order by e.seq desc))[1] is distinct from j.state)
