select coalesce(
    (select case when o.job_id is null then jsonb_build_object('outcome', 'not_finished', 'job', switchyard.job_document(j))
            else jsonb_build_object('outcome', 'finished', 'job', switchyard.job_document(j), 'result', o.output) end
     from switchyard.jobs j left join switchyard.outputs o on o.job_id = j.id
     where j.id = $2 and j.tenant_id = $1 and j.parent_id is null),
    '{"outcome": "not_found"}'::jsonb)
