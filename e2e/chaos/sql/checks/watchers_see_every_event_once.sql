-- A watcher receives every event once, in order, up to the terminal state, across broken streams.
select job_id::text as subject, format('a watcher received %s%s', seqs, case when ended then '' else ', without the terminal state' end) as detail
from chaos.watches
where not ended or seqs <> (select coalesce(array_agg(n), '{}') from generate_series(1, cardinality(seqs)::bigint) as n)
