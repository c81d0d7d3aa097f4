-- A running job is not claimed again, and every claim has a new fencing token.
select job_id::text as subject, format('was claimed with token %s while another worker ran it', run_token) as detail
from chaos.transitions
where before = 'running' and after = 'running'
union all
select min(job_id::text), format('token %s was issued %s times', run_token, count(*))
from chaos.transitions
where after = 'running' and before <> 'running'
group by run_token
having count(*) > 1
