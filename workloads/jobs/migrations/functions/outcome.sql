-- How attempts and jobs end.

-- Counts down the open children of a job when one has ended without ending the job. The children
-- are the middle of an analysis' progress, up to 90 percent. The caller holds the lock of the root.
create or replace function switchyard.child_ended(p_parent uuid) returns jsonb
language plpgsql as $$
declare
    p switchyard.jobs;
begin
    update switchyard.jobs
    set open_children = open_children - 1,
        progress = case when parent_id is null then greatest(progress, 10 + 80 * (children - open_children + 1) / children) else progress end,
        seq = seq + case when parent_id is null then 1 else 0 end
    where id = p_parent and state = 'waiting' and open_children > 0
    returning * into p;
    if not found then
        return switchyard.no_effects();
    end if;
    return switchyard.effects(
        case when p.open_children = 0 then jsonb_build_array(switchyard.queue(p)) else '[]' end,
        case when p.parent_id is null then switchyard.record_events(p) else '[]' end);
end $$;

-- Completes analyses with their followers. Analyses with a stale token are skipped. Returns {job,
-- effects} for each completed analysis.
create or replace function switchyard.complete_many(p_jobs uuid[], p_tokens bigint[], p_outputs jsonb[]) returns setof jsonb
language plpgsql security definer as $$
declare
    v_now timestamptz;
    v_claimed uuid[];
    v_followers uuid[];
    -- By lane: the queue to publish a ticket to.
    v_next jsonb;
begin
    select array_agg(id) into v_claimed from (
        select j.id from unnest(p_jobs, p_tokens) as claim (id, token)
        join switchyard.jobs j on j.id = claim.id and j.run_token = claim.token and j.parent_id is null
        order by j.id for update of j) claimed;
    if v_claimed is null then
        return;
    end if;
    select array_agg(id) into v_followers from (
        select id from switchyard.jobs where leader_id = any(v_claimed) and finished_at is null order by id for update) followers;
    perform 1 from switchyard.tenants
    where id in (select tenant_id from switchyard.jobs where id = any(v_claimed || v_followers) and origin = 'api')
    order by id for no key update;
    select jsonb_object_agg(lane, switchyard.next_claimable(lane)) into v_next
    from (select distinct lane from switchyard.jobs where id = any(v_claimed)) lanes;
    v_now := clock_timestamp();

    return query
    with ended as (
        update switchyard.jobs
        set state = 'completed', finished_at = v_now, run_token = null, lease_until = null, progress = 100, error = null, seq = seq + 1,
            stage = 'completed'
        where id = any(v_claimed || v_followers)
        returning id, leader_id, seq, tenant_id, origin, lane, case when id = any(v_claimed) then id else leader_id end as leader
    ), stored as (
        insert into switchyard.outputs (job_id, output)
        select e.id, o.output from ended e join unnest(p_jobs, p_outputs) as o (id, output) on o.id = e.leader
    ), recorded as (
        insert into switchyard.events (job_id, seq, state, progress, stage, at) select id, seq, 'completed', 100, 'completed', v_now from ended
    ), counted as (
        update switchyard.tenants t set running = running - e.n
        from (select tenant_id, count(*)::int as n from ended where origin = 'api' group by tenant_id) e where t.id = e.tenant_id
    )
    select jsonb_build_object('job', e.leader, 'effects', switchyard.effects(
        v_next -> max(e.lane) filter (where e.id = e.leader),
        jsonb_agg(switchyard.event(e.id, e.seq, 'completed', 100::smallint, 'completed', v_now))))
    from ended e group by e.leader;
end $$;

-- Completes a job. p_found is [{id, username}], the profiles that it discovered.
create or replace function switchyard.complete(p_job uuid, p_token bigint, p_output jsonb, p_found jsonb, p_tiers jsonb, p_lanes jsonb) returns jsonb
language plpgsql security definer as $$
declare
    j switchyard.jobs := switchyard.lock_claimed(p_job, p_token);
    r switchyard.jobs;
    v_effects jsonb;
    v_found jsonb;
begin
    if j.id is null then
        return null;
    end if;
    if j.parent_id is null then
        select document -> 'effects' into v_effects
        from switchyard.complete_many(array[p_job], array[p_token], array[p_output]) as ended (document);
    else
        if j.corrects is not null then
            update switchyard.outputs set output = p_output where job_id = any(j.corrects);
        else
            insert into switchyard.outputs (job_id, output) values (j.id, p_output);
        end if;
        update switchyard.jobs
        set state = 'completed', finished_at = clock_timestamp(), run_token = null, lease_until = null, progress = 100, error = null
        where id = j.id;
        v_effects := switchyard.child_ended(j.parent_id);
    end if;
    -- The tenant is locked last, as everywhere. Discovered analyses belong to the analysis, not to
    -- a child.
    select * into r from switchyard.jobs where id = j.root_id;
    v_found := switchyard.discover(r, p_found, p_tiers, p_lanes);
    return jsonb_set(v_effects, '{ready}', v_effects -> 'ready' || v_found);
end $$;

-- Completes an analysis for now. A correction with p_input can be claimed on the low lane after
-- p_after seconds. Its output replaces p_output for all analyses that share the pipeline.
create or replace function switchyard.complete_for_now(
    p_job uuid, p_token bigint, p_output jsonb, p_correction uuid, p_input jsonb, p_after double precision
) returns jsonb
language plpgsql security definer as $$
declare
    v_now timestamptz := clock_timestamp();
    v_due timestamptz := v_now + make_interval(secs => p_after);
    v_effects jsonb;
begin
    select document -> 'effects' into v_effects
    from switchyard.complete_many(array[p_job], array[p_token], array[p_output]) as ended (document);
    if v_effects is null then
        return null;
    end if;
    -- Its turn is the time at which it is due, so it precedes no analysis submitted before that.
    insert into switchyard.jobs (id, tenant_id, root_id, parent_id, required, origin, kind, lane, state, username, input, run_at, turn, created_at,
        trace, corrects)
    select p_correction, tenant_id, id, id, false, 'child', kind, 'low', 'queued', username, p_input, v_due, v_due, v_now,
        trace, array(select (event ->> 'job')::uuid from jsonb_array_elements(v_effects -> 'events') event)
    from switchyard.jobs where id = p_job;
    return v_effects;
end $$;

-- Marks a job dead because of p_error, and cancels its descendants. The price of an analysis is
-- refunded. A required child takes its parent along; otherwise the parent continues without it.
-- Followers of an analysis share a permanent error; after any other, one of them is promoted. The
-- caller holds the lock of the root.
create or replace function switchyard.mark_dead(p_job uuid, p_error jsonb) returns jsonb
language plpgsql as $$
declare
    j switchyard.jobs;
    v_follower uuid;
    v_effects jsonb;
begin
    update switchyard.jobs
    set state = 'dead', finished_at = clock_timestamp(), run_token = null, lease_until = null, run_at = null,
        error = p_error, stage = case when parent_id is null then 'dead' else stage end,
        seq = seq + case when parent_id is null then 1 else 0 end
    where id = p_job and finished_at is null
    returning * into j;
    if not found then
        return switchyard.no_effects();
    end if;
    perform switchyard.cancel_below(j.id);
    if j.parent_id is not null then
        return case when j.required then switchyard.mark_dead(j.parent_id, p_error) else switchyard.child_ended(j.parent_id) end;
    end if;
    v_effects := switchyard.effects(switchyard.next_claimable(j.lane), switchyard.record_events(j));
    if (p_error ->> 'permanent')::boolean then
        perform 1 from switchyard.jobs where leader_id = j.id and finished_at is null order by id for update;
        -- By ascending id, as all functions that lock several tenants.
        perform 1 from switchyard.tenants
        where id in (select tenant_id from switchyard.jobs where id = j.id or (leader_id = j.id and finished_at is null)) order by id for no key update;
        for v_follower in select id from switchyard.jobs where leader_id = j.id and finished_at is null order by id loop
            update switchyard.jobs
            set history = history || jsonb_build_array(p_error || jsonb_build_object('attempt', attempt, 'at', clock_timestamp()))
            where id = v_follower;
            v_effects := switchyard.merge_effects(v_effects, switchyard.mark_dead(v_follower, p_error));
        end loop;
    else
        v_effects := switchyard.merge_effects(v_effects, switchyard.promote(j.id));
    end if;
    perform switchyard.decrement_running(j);
    perform switchyard.refund(j, 'analysis failed: ' || coalesce(p_error ->> 'code', 'unknown'));
    return v_effects;
end $$;

-- Ends the attempt of a job with an error: a retry, or death. The caller holds the locks of root
-- and job.
create or replace function switchyard.attempt_failed(j switchyard.jobs, p_error jsonb, p_delays double precision[], p_attempts int) returns jsonb
language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    v_run_at timestamptz;
begin
    update switchyard.jobs
    set failures = failures + 1,
        history = history || jsonb_build_array(p_error || jsonb_build_object('attempt', attempt, 'at', v_now))
    where id = j.id returning * into j;
    if (p_error ->> 'permanent')::boolean or j.failures >= p_attempts then
        return jsonb_build_object('outcome', 'dead', 'effects', switchyard.mark_dead(j.id, p_error));
    end if;
    -- retry_after_seconds is capped at one day.
    v_run_at := v_now + make_interval(secs =>
        greatest(coalesce(p_delays[j.failures], 0), least(coalesce((p_error ->> 'retry_after_seconds')::double precision, 0), 86400)));
    update switchyard.jobs
    set state = 'retrying', run_at = v_run_at, turn = greatest(turn, v_run_at), run_token = null, lease_until = null, worker = null, error = p_error,
        stage = case when parent_id is null then 'retrying' else stage end,
        seq = seq + case when parent_id is null then 1 else 0 end
    where id = j.id returning * into j;
    return jsonb_build_object('outcome', 'retrying', 'run_at', j.run_at, 'effects', case
        when j.parent_id is null then switchyard.effects(switchyard.next_claimable(j.lane), switchyard.record_events(j))
        else switchyard.no_effects() end);
end $$;

-- Ends an attempt with the error that its worker reports.
create or replace function switchyard.fail(p_job uuid, p_token bigint, p_error jsonb, p_delays double precision[], p_attempts int) returns jsonb
language plpgsql security definer as $$
declare
    j switchyard.jobs := switchyard.lock_claimed(p_job, p_token);
begin
    if j.id is null then
        return '{"outcome": "stale"}';
    end if;
    return switchyard.attempt_failed(j, p_error, p_delays, p_attempts);
end $$;

-- Ends an attempt whose lease has expired. If its worker crashed meanwhile, the error says so. With
-- p_quarantine a job dies at once when two attempts in a row ended that way, unless another job may
-- be the cause: it would crash more workers. At most ten jobs in five minutes, because more have
-- another cause.
create or replace function switchyard.reap(
    p_job uuid, p_token bigint, p_error jsonb, p_delays double precision[], p_attempts int, p_lease double precision default 30,
    p_quarantine boolean default false
) returns jsonb
language plpgsql security definer as $$
declare
    v_now timestamptz := clock_timestamp();
    j switchyard.jobs := switchyard.lock_claimed(p_job, p_token);
    v_crashed boolean;
begin
    if j.id is null or j.lease_until > v_now then
        return '{"outcome": "stale"}';
    end if;
    -- The worker crashed if it has restarted since the last heartbeat, as a container does in its
    -- pod. A worker that is silent may only be cut off.
    select started_at > j.lease_until - make_interval(secs => p_lease) into v_crashed from switchyard.workers where name = j.worker;
    if v_crashed is not true then
        return switchyard.attempt_failed(j, p_error, p_delays, p_attempts);
    end if;
    p_error := jsonb_build_object('code', 'worker-died', 'message', 'the worker that ran this attempt ended in the middle of it', 'permanent', false,
        'worker', j.worker);
    if p_quarantine and j.failures > 0 and j.history -> -1 ->> 'code' = 'worker-died'
        -- Another job that was running both times may be the cause as well.
        and not exists (
            select from switchyard.jobs o
            where o.state = 'running' and o.worker = j.worker and o.id <> j.id and o.history -> -1 ->> 'code' = 'worker-died')
        and not exists (
            select from switchyard.jobs o
            where o.state = 'retrying' and o.kind = j.kind and o.history -> -1 ->> 'worker' = j.worker and o.history -> -2 ->> 'code' = 'worker-died'
              and (o.history -> -1 ->> 'at')::timestamptz > v_now - interval '1 minute')
        and (select count(*) from switchyard.recoveries where action = 'job-quarantined' and at > v_now - interval '5 minutes') < 10
    then
        p_error := jsonb_build_object('code', 'poisonous-job', 'permanent', true, 'worker', j.worker,
            'message', 'two workers ended in the middle of it, one after the other: find out why before it is replayed');
        insert into switchyard.recoveries (action, subject, evidence)
        values ('job-quarantined', j.id, format('workers %s and %s ended while they ran it', j.history -> -1 ->> 'worker', j.worker));
        return switchyard.attempt_failed(j, p_error, p_delays, p_attempts) || '{"quarantined": true}';
    end if;
    return switchyard.attempt_failed(j, p_error, p_delays, p_attempts);
end $$;

-- Returns a job to its queue as if it had not been claimed.
create or replace function switchyard.release(p_job uuid, p_token bigint) returns jsonb
language plpgsql security definer as $$
declare
    j switchyard.jobs := switchyard.lock_claimed(p_job, p_token);
begin
    if j.id is null then
        return null;
    end if;
    update switchyard.jobs
    set state = case when kept is not null then 'waiting' when failures > 0 then 'retrying' else 'queued' end,
        attempt = failures, run_at = case when kept is null and failures > 0 then clock_timestamp() end,
        run_token = null, lease_until = null, worker = null,
        stage = case when parent_id is null and kept is null then 'queued' else stage end,
        seq = seq + case when parent_id is null then 1 else 0 end
    where id = j.id returning * into j;
    return switchyard.effects(jsonb_build_array(switchyard.queue(j)),
        case when j.parent_id is null then switchyard.record_events(j) else '[]' end);
end $$;
