-- At no moment had a lane more analyses running or waiting for their parts than the platform allows it.
with steps as (
    select lane, transaction, at, sum(chaos.busy(after, follows)::int - chaos.busy(before, followed)::int) as step
    from chaos.history
    where parent_id is null
    group by lane, transaction, at
), levels as (
    select lane, at, sum(step) over (partition by lane order by at, step, transaction rows unbounded preceding) as level from steps
)
select l.lane as subject, format('had %s busy at once, first at %s; it may have %s', max(v.level), min(v.at), l.max_running) as detail
from levels v join chaos.lanes l on l.lane = v.lane
where v.level > l.max_running
group by l.lane, l.max_running
