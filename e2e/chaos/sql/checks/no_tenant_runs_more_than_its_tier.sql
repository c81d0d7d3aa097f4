-- A tenant's unfinished analyses never exceed its tier's limit, by its jobs and by its counter.
with steps as (
    select tenant_id, transaction, at, sum(chaos.open(after)::int - chaos.open(before)::int) as step
    from chaos.history
    where origin = 'api'
    group by tenant_id, transaction, at
), levels as (
    select tenant_id, at, sum(step) over (partition by tenant_id order by at, step, transaction rows unbounded preceding) as level from steps
), seen as (
    select tenant_id, max(level) as level from levels group by tenant_id
    union all
    select tenant_id, max(running) from chaos.counters group by tenant_id
)
select t.id::text as subject, format('had %s unfinished at once; its tier %s allows %s', max(s.level), t.tier, l.concurrent) as detail
from seen s
join switchyard.tenants t on t.id = s.tenant_id
join chaos.tiers l on l.tier = t.tier
where s.level > l.concurrent
group by t.id, t.tier, l.concurrent
