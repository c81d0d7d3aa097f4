-- Parts that the other functions share.

-- A job as its readers see it.
create or replace function switchyard.job_document(j switchyard.jobs) returns jsonb
language sql stable as $$
    select jsonb_build_object(
        'id', j.id, 'tenant', j.tenant_id, 'parent', j.parent_id, 'origin', j.origin, 'state', j.state, 'kind', j.kind, 'lane', j.lane,
        'username', j.username, 'attempt', j.attempt, 'progress', j.progress, 'stage', j.stage, 'error', j.error,
        'run_at', case when j.state = 'retrying' then j.run_at end,
        'created_at', j.created_at, 'started_at', j.started_at, 'finished_at', j.finished_at)
$$;

create or replace function switchyard.pointer(j switchyard.jobs) returns jsonb
language sql immutable as $$
    select jsonb_build_object('job', j.id, 'kind', j.kind, 'lane', j.lane)
$$;

-- The state as callers know it.
create or replace function switchyard.public_state(state text) returns text
language sql immutable as $$
    select case state when 'waiting' then 'running' else state end
$$;

-- Records an analysis' present state as its next event and answers the event. The caller holds the row's lock.
create or replace function switchyard.record_event(p_root uuid) returns jsonb
language plpgsql as $$
declare
    j switchyard.jobs;
    v_at timestamptz := clock_timestamp();
begin
    update switchyard.jobs set seq = seq + 1 where id = p_root returning * into j;
    insert into switchyard.events (job_id, seq, state, progress, stage, at)
    values (j.id, j.seq, switchyard.public_state(j.state), j.progress, j.stage, v_at);
    return jsonb_build_object('seq', j.seq, 'job', j.id, 'state', switchyard.public_state(j.state),
        'progress', j.progress, 'stage', j.stage, 'at', v_at);
end $$;

-- What effects are empty.
create or replace function switchyard.no_effects() returns jsonb
language sql immutable as $$
    select '{"ready": [], "events": []}'::jsonb
$$;

-- Gives an analysis' credits back, once in each round, and answers what went back.
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

-- Takes an analysis that has ended off its tenant's running count.
create or replace function switchyard.release(j switchyard.jobs) returns void
language plpgsql as $$
begin
    if j.origin = 'api' then
        update switchyard.tenants set running = running - 1 where id = j.tenant_id;
    end if;
end $$;

-- Locks the analysis that a job belongs to and then the job, in the order that everyone keeps, and answers the job; null when there is none.
create or replace function switchyard.locked(p_job uuid) returns switchyard.jobs
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

-- As locked(), for the holder of a run token alone; null for anyone else.
create or replace function switchyard.locked_by(p_job uuid, p_token bigint) returns switchyard.jobs
language plpgsql as $$
declare
    j switchyard.jobs;
begin
    -- A stale token is told off without a lock.
    perform 1 from switchyard.jobs where id = p_job and run_token = p_token;
    if not found then
        return null;
    end if;
    j := switchyard.locked(p_job);
    if j.run_token is distinct from p_token then
        return null;
    end if;
    return j;
end $$;

-- Cancels whatever below a job has not ended. The caller holds the root's lock.
create or replace function switchyard.cancel_below(p_job uuid) returns void
language sql as $$
    with recursive below as (
        select c.id from switchyard.jobs p join switchyard.jobs c on c.root_id = p.root_id and c.parent_id = p.id where p.id = p_job
        union all
        select c.id from below b join switchyard.jobs p on p.id = b.id
            join switchyard.jobs c on c.root_id = p.root_id and c.parent_id = p.id
    )
    update switchyard.jobs j
    set state = 'cancelled', finished_at = clock_timestamp(), run_token = null, lease_until = null, publish_at = null, open_children = 0
    from below where j.id = below.id and j.finished_at is null
$$;
