-- What the relay, the reaper, retention and the queue statistics need.

-- Number of claimable jobs of a queue that are at least p_age old, p_limit at most.
create or replace function switchyard.claimable(p_kind text, p_lane text, p_limit int, p_age interval) returns int
language sql stable as $$
    select count(*)::int from (
        (select from switchyard.jobs
         where kind = p_kind and lane = p_lane and state in ('queued', 'retrying') and leader_id is null and (run_at is null or run_at <= now())
           and created_at <= now() - p_age
         order by turn limit p_limit)
        union all
        (select from switchyard.jobs where kind = p_kind and lane = p_lane and state = 'waiting' and open_children = 0 and leader_id is null order by turn
         limit p_limit)
        limit p_limit
    ) ready
$$;

-- Queues with claimable jobs, and how many of them a worker could claim: no more than the lane may
-- still run. The relay publishes tickets for them if the broker has none.
create or replace function switchyard.claimable_queues(p_lanes jsonb, p_age double precision) returns setof jsonb
language sql stable security definer as $$
    select jsonb_build_array(jsonb_build_object('kind', k.name, 'lane', l.name), least(ready.n, free.n))
    from unnest(array['general', 'cdn', 'discovery', 'ai']) as k (name)
    cross join unnest(array['critical', 'high', 'normal', 'low']) as l (name)
    cross join lateral (select switchyard.claimable(k.name, l.name, 1000, make_interval(secs => p_age)) as n) ready
    cross join lateral (
        select case when k.name = 'general' then
            greatest(0, (p_lanes -> l.name ->> 'maxRunning')::int - count(*) filter (where parent_id is null))
                -- Joins count as running already.
                + count(*) filter (where state = 'waiting' and open_children = 0)
            else 1000 end::int as n
        from switchyard.jobs where kind = k.name and lane = l.name and state in ('running', 'waiting') and leader_id is null
    ) free
    where ready.n > 0 and free.n > 0
      and not exists (select from switchyard.paused_lanes p where p.kind = k.name and p.lane = l.name)
$$;

-- Claims whose lease has expired, the oldest first.
create or replace function switchyard.expired(p_limit bigint) returns setof jsonb
language sql stable security definer as $$
    select jsonb_build_object('job', id, 'token', run_token) from switchyard.jobs
    where state = 'running' and lease_until < clock_timestamp() order by lease_until limit p_limit
$$;

-- Removes rows that are older than their retention in seconds, p_limit of each kind at most.
create or replace function switchyard.retain(
    p_events double precision, p_idempotency double precision, p_jobs double precision, p_limit bigint
) returns jsonb
language plpgsql security definer as $$
declare
    v_events bigint;
    v_idempotency bigint;
    v_jobs bigint;
    v_children bigint;
    v_gone uuid[];
begin
    -- One process at a time: a second one would wait for the same rows.
    if not pg_try_advisory_xact_lock(hashtextextended('switchyard retention', 0)) then
        return '{"events": 0, "idempotency": 0, "jobs": 0}';
    end if;
    delete from switchyard.workers where seen_at < now() - interval '1 day';
    delete from switchyard.recoveries where at < now() - make_interval(secs => p_jobs);
    delete from switchyard.events where (job_id, seq) in (
        select e.job_id, e.seq from switchyard.events e
        where e.at < now() - make_interval(secs => p_events)
          and exists (select from switchyard.jobs j where j.id = e.job_id and j.finished_at < now() - make_interval(secs => p_events))
        limit p_limit);
    get diagnostics v_events = row_count;
    delete from switchyard.idempotency where (tenant_id, key) in (
        select tenant_id, key from switchyard.idempotency where created_at < now() - make_interval(secs => p_idempotency) limit p_limit)
        -- Checked again, because a request may have renewed it meanwhile.
        and created_at < now() - make_interval(secs => p_idempotency);
    get diagnostics v_idempotency = row_count;
    select array_agg(id) into v_gone from (
        select id from switchyard.jobs
        where parent_id is null and finished_at < now() - make_interval(secs => p_jobs) order by finished_at limit p_limit
        for update skip locked) old;
    if v_gone is null then
        return jsonb_build_object('events', v_events, 'idempotency', v_idempotency, 'jobs', 0);
    end if;
    delete from switchyard.events where job_id = any(v_gone);
    -- Analyses by id, children by root: each has an index, and one condition for both would scan
    -- the table.
    delete from switchyard.outputs where job_id = any(v_gone)
        or job_id = any(array(select id from switchyard.jobs where parent_id is not null and root_id = any(v_gone)));
    delete from switchyard.jobs where parent_id is not null and root_id = any(v_gone);
    get diagnostics v_children = row_count;
    delete from switchyard.jobs where id = any(v_gone);
    get diagnostics v_jobs = row_count;
    return jsonb_build_object('events', v_events, 'idempotency', v_idempotency, 'jobs', v_jobs + v_children);
end $$;

-- The smallest id of a job created at that time: UUIDs of version 7 begin with milliseconds since
-- 1970.
create or replace function switchyard.first_id(p_at timestamptz) returns uuid
language sql immutable as $$
    select (lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

-- Statistics of every queue.
create or replace function switchyard.lane_report() returns setof jsonb
language sql stable security definer as $$
    with waiting as (
        select kind, lane, count(*) filter (where run_at is null or run_at <= now()) as depth,
            min(coalesce(run_at, created_at)) filter (where run_at is null or run_at <= now()) as oldest,
            count(*) filter (where run_at > now()) as retrying,
            count(*) filter (where run_at > now() and run_at <= now() + interval '1 minute') as due_soon
        from switchyard.jobs where state in ('queued', 'retrying') and leader_id is null group by kind, lane
    ), busy as (
        select kind, lane, count(*) filter (where state = 'running') as running,
            count(*) filter (where state = 'waiting') as waiting, count(*) filter (where state = 'waiting' and open_children = 0) as joining
        from switchyard.jobs where state in ('running', 'waiting') and leader_id is null group by kind, lane
    ), created as (
        select kind, lane, count(*) as n, count(*) filter (where id > switchyard.first_id(now() - interval '1 minute')) as lately
        from switchyard.jobs where id > switchyard.first_id(now() - interval '5 minutes') group by kind, lane
    ), ended as (
        select kind, lane, count(*) as n from switchyard.jobs where finished_at > now() - interval '5 minutes' group by kind, lane
    ), served as (
        -- How long a job occupied a worker: from the first claim to the end, without the time of
        -- its children. Only jobs with one attempt count, because nobody works between attempts.
        select l.kind, l.lane, avg(greatest(extract(epoch from l.finished_at - l.started_at) - coalesce(children.seconds, 0), 0)) as seconds
        from (select * from switchyard.jobs where finished_at is not null order by finished_at desc limit 1000) l
        left join lateral (
            select extract(epoch from max(c.finished_at) - min(c.created_at)) as seconds from switchyard.jobs c
            where l.children > 0 and c.root_id = l.root_id and c.parent_id = l.id and c.corrects is null
        ) children on true
        where l.state = 'completed' and l.failures = 0 and l.leader_id is null and l.started_at is not null
        group by l.kind, l.lane
    )
    select jsonb_build_object('kind', k.name, 'lane', l.name, 'paused', p.kind is not null,
        'depth', coalesce(o.depth, 0) + coalesce(b.joining, 0), 'oldest_age_seconds', coalesce(extract(epoch from now() - o.oldest), 0),
        'running', coalesce(b.running, 0), 'retrying', coalesce(o.retrying, 0), 'waiting', coalesce(b.waiting, 0),
        'due_soon', coalesce(o.due_soon, 0), 'arrival_rate', coalesce(m.n, 0) / 300.0,
        'recent_arrival_rate', coalesce(m.lately, 0) / 60.0, 'completion_rate', coalesce(e.n, 0) / 300.0, 'service_seconds', s.seconds)
    from unnest(array['general', 'cdn', 'discovery', 'ai']) with ordinality as k (name, n)
    cross join unnest(array['critical', 'high', 'normal', 'low']) with ordinality as l (name, n)
    left join waiting o on o.kind = k.name and o.lane = l.name
    left join busy b on b.kind = k.name and b.lane = l.name
    left join created m on m.kind = k.name and m.lane = l.name
    left join ended e on e.kind = k.name and e.lane = l.name
    left join served s on s.kind = k.name and s.lane = l.name
    left join switchyard.paused_lanes p on p.kind = k.name and p.lane = l.name
    order by k.n, l.n
$$;
