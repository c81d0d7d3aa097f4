select jsonb_build_array(switchyard.job_document(j), o.output)
from switchyard.jobs j join switchyard.outputs o on o.job_id = j.id
where j.tenant_id = $1 and j.username = $2 and j.parent_id is null and j.state = 'completed'
order by j.finished_at desc
limit 1
