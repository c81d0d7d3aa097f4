select to_jsonb(seen) from (
    select e.seq, e.job_id as job, e.state, e.progress, e.stage, e.at
    from switchyard.jobs j join switchyard.events e on e.job_id = j.id
    where j.id = $2 and ($1 is null or j.tenant_id = $1) and j.parent_id is null and e.seq > $3
    order by e.seq
) seen
