-- A waiting parent's count of open children is correct at the end of every transaction; a completed
-- job has none.
select job_id::text as subject, format('counted %s open children instead of %s', counted, found) as detail
from chaos.miscounts
union all
select id::text, format('is completed and counts %s open children', open_children)
from switchyard.jobs
where state = 'completed' and open_children <> 0
