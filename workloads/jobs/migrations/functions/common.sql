-- Functions that the other files share.

-- A job as the API shows it.
create or replace function switchyard.job_document(j switchyard.jobs) returns jsonb
language sql stable as $$
    select jsonb_build_object(
        'id', j.id, 'tenant', j.tenant_id, 'parent', j.parent_id, 'origin', j.origin, 'state', j.state, 'kind', j.kind, 'lane', j.lane,
        'username', j.username, 'attempt', j.attempt, 'progress', j.progress, 'stage', j.stage, 'error', j.error,
        'run_at', case when j.state = 'retrying' then j.run_at end,
        'created_at', j.created_at, 'started_at', j.started_at, 'finished_at', j.finished_at)
$$;

-- The queue that a job is claimed from.
create or replace function switchyard.queue(j switchyard.jobs) returns jsonb
language sql stable as $$
    select jsonb_build_object('kind', j.kind, 'lane', j.lane)
$$;

-- The public state: a waiting job is running.
create or replace function switchyard.public_state(state text) returns text
language sql immutable as $$
    select case state when 'waiting' then 'running' else state end
$$;

-- Rank of a lane, 0 is the highest.
create or replace function switchyard.lane_rank(lane text) returns int
language sql immutable as $$
    select case lane when 'critical' then 0 when 'high' then 1 when 'normal' then 2 else 3 end
$$;

-- An event as watchers see it.
create or replace function switchyard.event(p_job uuid, p_seq bigint, p_state text, p_progress smallint, p_stage text, p_at timestamptz) returns jsonb
language sql stable as $$
    select jsonb_build_object('seq', p_seq, 'job', p_job, 'state', switchyard.public_state(p_state), 'progress', p_progress, 'stage', p_stage, 'at', p_at)
$$;

-- Records an event for the new state of an analysis, whose seq the caller has incremented with the
-- change. While the analysis runs, its followers take over its state and get an event as well.
-- Returns the events. The caller holds the lock of the row.
create or replace function switchyard.record_events(j switchyard.jobs) returns jsonb
language plpgsql as $$
declare
    v_at timestamptz := clock_timestamp();
    v_events jsonb;
begin
    with followers as (
        update switchyard.jobs
        set state = case when j.started_at is null then state else 'waiting' end, started_at = coalesce(started_at, j.started_at),
            progress = greatest(progress, j.progress), stage = j.stage, seq = seq + 1
        where leader_id = j.id and finished_at is null and j.finished_at is null
        returning id, seq, state, progress, stage
    ), changed as (
        select j.id, j.seq, j.state, j.progress, j.stage
        union all
        select * from followers
    ), inserted as (
        insert into switchyard.events (job_id, seq, state, progress, stage, at)
        select id, seq, switchyard.public_state(state), progress, stage, v_at from changed
    )
    select jsonb_agg(switchyard.event(id, seq, state, progress, stage, v_at)) into v_events from changed;
    return v_events;
end $$;

-- The queue of a lane's analyses if one of them is claimable. For callers that end an analysis, so
-- that the lane may run another one.
create or replace function switchyard.next_claimable(p_lane text) returns jsonb
language sql stable as $$
    select coalesce((
        select jsonb_build_array(switchyard.queue(j)) from switchyard.jobs j
        where kind = 'general' and lane = p_lane and state in ('queued', 'retrying') and leader_id is null and (run_at is null or run_at <= clock_timestamp())
        order by turn limit 1), '[]')
$$;

-- What to publish after a change.
create or replace function switchyard.effects(p_ready jsonb, p_events jsonb) returns jsonb
language sql stable as $$
    select jsonb_build_object('ready', p_ready, 'events', p_events)
$$;

-- The effects of two changes.
create or replace function switchyard.merge_effects(a jsonb, b jsonb) returns jsonb
language sql stable as $$
    select jsonb_build_object('ready', (a -> 'ready') || (b -> 'ready'), 'events', (a -> 'events') || (b -> 'events'))
$$;

-- No effects.
create or replace function switchyard.no_effects() returns jsonb
language sql immutable as $$
    select '{"ready": [], "events": []}'::jsonb
$$;

-- Refunds the price of an analysis, once in each round. Returns the refunded credits.
create or replace function switchyard.refund(j switchyard.jobs, p_reason text) returns bigint
language plpgsql as $$
begin
    if j.price = 0 then
        return 0;
    end if;
    insert into switchyard.ledger (tenant_id, job_id, round, kind, amount, reason)
    values (j.tenant_id, j.id, j.round, 'refund', j.price, p_reason)
    on conflict (job_id, round, kind) do nothing;
    if not found then
        return 0;
    end if;
    update switchyard.tenants set credits = credits + j.price where id = j.tenant_id;
    return j.price;
end $$;

-- Decrements the tenant's count of running analyses when one has ended.
create or replace function switchyard.decrement_running(j switchyard.jobs) returns void
language plpgsql as $$
begin
    if j.origin = 'api' then
        update switchyard.tenants set running = running - 1 where id = j.tenant_id;
    end if;
end $$;

-- Locks the analysis that a job belongs to and then the job: the order that all functions keep.
-- Returns the job; null if there is none.
create or replace function switchyard.lock_job(p_job uuid) returns switchyard.jobs
language plpgsql as $$
declare
    v_root uuid;
    j switchyard.jobs;
begin
    select root_id into v_root from switchyard.jobs where id = p_job;
    if not found then
        return null;
    end if;
    perform 1 from switchyard.jobs where id = v_root for update;
    select * into j from switchyard.jobs where id = p_job for update;
    return j;
end $$;

-- As lock_job(), if p_token is the job's fencing token; else null.
create or replace function switchyard.lock_claimed(p_job uuid, p_token bigint) returns switchyard.jobs
language plpgsql as $$
declare
    j switchyard.jobs;
begin
    -- A stale token needs no lock.
    perform 1 from switchyard.jobs where id = p_job and run_token = p_token;
    if not found then
        return null;
    end if;
    j := switchyard.lock_job(p_job);
    if j.run_token is distinct from p_token then
        return null;
    end if;
    return j;
end $$;

-- Cancels the unfinished descendants of a job. The caller holds the lock of the root.
create or replace function switchyard.cancel_below(p_job uuid) returns void
language sql as $$
    with recursive below as (
        select c.id from switchyard.jobs p join switchyard.jobs c on c.root_id = p.root_id and c.parent_id = p.id where p.id = p_job
        union all
        select c.id from below b join switchyard.jobs p on p.id = b.id
            join switchyard.jobs c on c.root_id = p.root_id and c.parent_id = p.id
    )
    update switchyard.jobs j
    set state = 'cancelled', finished_at = clock_timestamp(), run_token = null, lease_until = null, open_children = 0
    from below where j.id = below.id and j.finished_at is null
$$;

-- Promotes a follower of an analysis that ended without a result: the one in the highest lane is
-- queued, and the others follow it. The caller holds the lock of the analysis that ended.
create or replace function switchyard.promote(p_leader uuid) returns jsonb
language plpgsql as $$
declare
    j switchyard.jobs;
begin
    select * into j from switchyard.jobs where leader_id = p_leader and finished_at is null
    order by switchyard.lane_rank(lane), id limit 1 for update;
    if not found then
        return switchyard.no_effects();
    end if;
    update switchyard.jobs set state = 'queued', leader_id = null, started_at = null, progress = 0, stage = 'queued', seq = seq + 1
    where id = j.id returning * into j;
    perform 1 from switchyard.jobs where leader_id = p_leader and finished_at is null order by id for update;
    update switchyard.jobs set leader_id = j.id where leader_id = p_leader and finished_at is null;
    return switchyard.effects(jsonb_build_array(switchyard.queue(j)), switchyard.record_events(j));
end $$;
