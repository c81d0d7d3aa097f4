-- A tenant sees its analyses; no tenant ($1 null) is an admin, who sees children as well.
select switchyard.job_document(j) from switchyard.jobs j
where j.id = $2 and ($1 is null or (j.tenant_id = $1 and j.parent_id is null))
