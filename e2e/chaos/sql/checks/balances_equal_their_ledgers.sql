-- A tenant's credits equal the sum of its ledger and were never negative.
select t.id::text as subject, format('has %s credits and a ledger of %s', t.credits, coalesce(sum(l.amount), 0)) as detail
from switchyard.tenants t left join switchyard.ledger l on l.tenant_id = t.id
group by t.id
having t.credits <> coalesce(sum(l.amount), 0)
union all
select tenant_id::text, format('had %s credits', credits)
from chaos.counters
where credits < 0
