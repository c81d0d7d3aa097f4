-- After everything has come to rest no queue holds a message.
select queue as subject, format('holds %s messages', messages) as detail
from chaos.queues
where messages <> 0
