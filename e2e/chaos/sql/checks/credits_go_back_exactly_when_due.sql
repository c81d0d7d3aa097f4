-- A round refunds its price if the job died, or was cancelled before a worker claimed it. No other
-- round refunds.
with rounds as (
    select j.id, j.price, t.round, min(t.after) filter (where chaos.ended(t.after)) as ending,
        coalesce(bool_or(t.after = 'running'), false) as started
    from switchyard.jobs j join chaos.transitions t on t.job_id = j.id
    where j.parent_id is null
    group by j.id, t.round
), settled as (
    select r.*, case when ending = 'dead' or (ending = 'cancelled' and not started) then price else 0 end as due,
        (select coalesce(sum(l.amount), 0) from switchyard.ledger l where l.job_id = r.id and l.round = r.round and l.kind = 'refund') as given
    from rounds r
)
select id::text as subject,
    format('round %s (%s, %s by a worker) refunded %s credits instead of %s', round, coalesce(ending, 'not ended'),
        case when started then 'started' else 'not started' end, given, due) as detail
from settled
where ending is not null and due <> given
