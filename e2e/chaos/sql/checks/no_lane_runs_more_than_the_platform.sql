-- A lane never has more analyses running or waiting for children than its maxRunning.
with steps as (
    select lane, transaction, at, sum(chaos.busy(after, follows)::int - chaos.busy(before, followed)::int) as step
    from chaos.history
    where parent_id is null
    group by lane, transaction, at
), levels as (
    select lane, at, sum(step) over (partition by lane order by at, step, transaction rows unbounded preceding) as level from steps
)
select l.lane as subject, format('had %s running at once, first at %s; maxRunning is %s', max(v.level), min(v.at), l.max_running) as detail
from levels v join chaos.lanes l on l.lane = v.lane
where v.level > l.max_running
group by l.lane, l.max_running
