select switchyard.job_document(j) from switchyard.jobs j
where j.parent_id is null
  and ($1 is null or j.tenant_id = $1)
  and ($2 is null or switchyard.public_state(j.state) = $2)
  and ($3 is null or j.lane = $3)
  and ($4 or j.origin <> 'discovery')
  and ($5 is null or j.id < $5)
order by j.id desc
limit $6
