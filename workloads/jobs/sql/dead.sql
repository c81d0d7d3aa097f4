select jsonb_build_object('job', switchyard.job_document(j), 'failures', j.history,
    'children', (select coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'kind', c.kind, 'failures', c.history) order by c.ordinal), '[]')
                 from switchyard.jobs c where c.root_id = j.id and c.parent_id is not null and c.state = 'dead'))
from switchyard.jobs j
where j.parent_id is null and j.state = 'dead' and j.discarded_at is null
order by j.finished_at desc
limit $1
