-- A tenant's accepted analyses per UTC day stay within its tier's limit, and its counter of the day
-- is correct.
with days as (
    select tenant_id, (created_at at time zone 'utc')::date as day, count(*) as accepted
    from switchyard.jobs
    where origin = 'api'
    group by tenant_id, day
)
select t.id::text as subject, format('had %s analyses on %s; its tier %s allows %s', d.accepted, d.day, t.tier, l.daily) as detail
from days d join switchyard.tenants t on t.id = d.tenant_id join chaos.tiers l on l.tier = t.tier
where d.accepted > l.daily
union all
select t.id::text, format('counts %s analyses on %s; %s exist', t.today, t.day, coalesce(d.accepted, 0))
from switchyard.tenants t left join days d on d.tenant_id = t.id and d.day = t.day
where t.today <> coalesce(d.accepted, 0)
