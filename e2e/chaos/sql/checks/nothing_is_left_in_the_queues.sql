-- After the run has settled, all queues are empty.
select queue as subject, format('holds %s messages', messages) as detail
from chaos.queues
where messages <> 0
