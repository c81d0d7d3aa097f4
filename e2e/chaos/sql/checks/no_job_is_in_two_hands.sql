-- A job is taken from nobody's hands, and each time with a token that was never used before.
select job_id::text as subject, format('was taken with token %s while another worker had it', run_token) as detail
from chaos.transitions
where before = 'running' and after = 'running'
union all
select min(job_id::text), format('token %s was handed out %s times', run_token, count(*))
from chaos.transitions
where after = 'running' and before <> 'running'
group by run_token
having count(*) > 1
