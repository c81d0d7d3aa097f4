-- A completed job has one result, written once; other jobs have none.
select job_id::text as subject, format('%s results were written, by run tokens %s', count(*), string_agg(coalesce(run_token::text, 'none'), ', ')) as detail
from chaos.results
group by job_id
having count(*) > 1
union all
select j.id::text, format('is %s and has %s', j.state, case when o.job_id is null then 'no result' else 'a result' end)
from switchyard.jobs j left join switchyard.outputs o on o.job_id = j.id
where (j.state = 'completed') <> (o.job_id is not null)
