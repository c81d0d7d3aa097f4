-- Whoever watched an analysis was sent every event once, in order, up to its end, however often the stream broke.
select job_id::text as subject, format('a watcher was sent %s%s', seqs, case when ended then '' else ', and never the end' end) as detail
from chaos.watches
where not ended or seqs <> (select coalesce(array_agg(n), '{}') from generate_series(1, cardinality(seqs)::bigint) as n)
