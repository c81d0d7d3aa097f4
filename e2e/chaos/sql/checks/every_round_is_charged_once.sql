-- A submitted analysis is charged its price once per round; other jobs are not charged.
select j.id::text as subject,
    format('round %s was charged %s times, %s credits in total, at a price of %s', r.round, count(l.id), coalesce(-sum(l.amount), 0), j.price) as detail
from switchyard.jobs j
cross join lateral generate_series(0, j.round) as r (round)
left join switchyard.ledger l on l.job_id = j.id and l.round = r.round and l.kind = 'charge'
where j.parent_id is null
group by j.id, r.round
having count(l.id) <> case when j.price > 0 then 1 else 0 end or coalesce(-sum(l.amount), 0) <> j.price
