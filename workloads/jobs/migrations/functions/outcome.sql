-- How attempts and jobs end.

-- Tells a job that one of its children has ended, in a way that it can live with. Moves the analysis' progress: children are its middle, from what it
-- had reached before them to 90. The caller holds the root's lock.
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
        case when p.parent_id is null then switchyard.recorded(p) else '[]' end);
end $$;

-- Ends analyses well, with those that share their pipelines; what is not held by its token any more is passed over. Answers {job, effects} of each that
-- was.
create or replace function switchyard.complete_many(p_jobs uuid[], p_tokens bigint[], p_outputs jsonb[]) returns setof jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    v_now timestamptz;
    v_held uuid[];
    v_followers uuid[];
    -- By lane: who may take the places.
    v_next jsonb;
begin
    select array_agg(id) into v_held from (
        select j.id from unnest(p_jobs, p_tokens) as held (id, token)
        join switchyard.jobs j on j.id = held.id and j.run_token = held.token and j.parent_id is null
        order by j.id for update of j) held;
    if v_held is null then
        return;
    end if;
    select array_agg(id) into v_followers from (
        select id from switchyard.jobs where leader_id = any(v_held) and finished_at is null order by id for update) followers;
    perform 1 from switchyard.tenants
    where id in (select tenant_id from switchyard.jobs where id = any(v_held || v_followers) and origin = 'api')
    order by id for no key update;
    select jsonb_object_agg(lane, switchyard.next_in(lane)) into v_next
    from (select distinct lane from switchyard.jobs where id = any(v_held)) lanes;
    v_now := clock_timestamp();

    return query
    with ended as (
        update switchyard.jobs
        set state = 'completed', finished_at = v_now, run_token = null, lease_until = null, progress = 100, error = null, seq = seq + 1,
            stage = 'completed'
        where id = any(v_held || v_followers)
        returning id, leader_id, seq, tenant_id, origin, lane, case when id = any(v_held) then id else leader_id end as leader
    ), kept as (
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

-- Ends a job well.
create or replace function switchyard.complete(p_job uuid, p_token bigint, p_output jsonb, p_found jsonb, p_tiers jsonb, p_lanes jsonb) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    j switchyard.jobs := switchyard.locked_by(p_job, p_token);
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
    -- The tenant comes last, as everywhere; what was found belongs to the analysis.
    select * into r from switchyard.jobs where id = j.root_id;
    v_found := switchyard.discover(r, p_found, p_tiers, p_lanes);
    return jsonb_set(v_effects, '{ready}', v_effects -> 'ready' || v_found);
end $$;

-- Ends an analysis well for now: a correction, which is made with p_input, may be claimed on the low lane in p_after seconds, and its output takes the
-- place of p_output for all who share the pipeline.
create or replace function switchyard.complete_for_now(
    p_job uuid, p_token bigint, p_output jsonb, p_correction uuid, p_input jsonb, p_after double precision
) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
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
    -- Its turn is its time, so that it goes before no analysis that is asked for until then.
    insert into switchyard.jobs (id, tenant_id, root_id, parent_id, required, origin, kind, lane, state, username, input, run_at, turn, created_at,
        trace, corrects)
    select p_correction, tenant_id, id, id, false, 'child', kind, 'low', 'queued', username, p_input, v_due, v_due, v_now,
        trace, array(select (event ->> 'job')::uuid from jsonb_array_elements(v_effects -> 'events') event)
    from switchyard.jobs where id = p_job;
    return v_effects;
end $$;

-- Ends a job for good because of p_error: its descendants are cancelled; an analysis gives its credits back; a part takes its parent along when it is
-- required, else its parent goes on without it. Those who share an analysis' pipeline share an error that no other attempt can mend, and go on after any
-- other. The caller holds the root's lock.
create or replace function switchyard.die(p_job uuid, p_error jsonb) returns jsonb
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
        return case when j.required then switchyard.die(j.parent_id, p_error) else switchyard.child_ended(j.parent_id) end;
    end if;
    v_effects := switchyard.effects(switchyard.next_in(j.lane), switchyard.recorded(j));
    if (p_error ->> 'permanent')::boolean then
        perform 1 from switchyard.jobs where leader_id = j.id and finished_at is null order by id for update;
        -- All tenants at once, in the order that everyone keeps who locks several.
        perform 1 from switchyard.tenants
        where id in (select tenant_id from switchyard.jobs where id = j.id or (leader_id = j.id and finished_at is null)) order by id for no key update;
        for v_follower in select id from switchyard.jobs where leader_id = j.id and finished_at is null order by id loop
            update switchyard.jobs
            set history = history || jsonb_build_array(p_error || jsonb_build_object('attempt', attempt, 'at', clock_timestamp()))
            where id = v_follower;
            v_effects := switchyard.joined(v_effects, switchyard.die(v_follower, p_error));
        end loop;
    else
        v_effects := switchyard.joined(v_effects, switchyard.promote(j.id));
    end if;
    perform switchyard.release(j);
    perform switchyard.refund(j, 'analysis failed: ' || coalesce(p_error ->> 'code', 'unknown'));
    return v_effects;
end $$;

-- Ends the attempt of a job that the caller has locked.
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
        return jsonb_build_object('outcome', 'dead', 'effects', switchyard.die(j.id, p_error));
    end if;
    -- Whoever asks for more than a day's patience gets a day.
    v_run_at := v_now + make_interval(secs =>
        greatest(coalesce(p_delays[j.failures], 0), least(coalesce((p_error ->> 'retry_after_seconds')::double precision, 0), 86400)));
    update switchyard.jobs
    set state = 'retrying', run_at = v_run_at, turn = greatest(turn, v_run_at), run_token = null, lease_until = null, worker = null, error = p_error,
        stage = case when parent_id is null then 'retrying' else stage end,
        seq = seq + case when parent_id is null then 1 else 0 end
    where id = j.id returning * into j;
    return jsonb_build_object('outcome', 'retrying', 'run_at', j.run_at, 'effects', case
        when j.parent_id is null then switchyard.effects(switchyard.next_in(j.lane), switchyard.recorded(j))
        else switchyard.no_effects() end);
end $$;

-- Ends an attempt badly, as its worker tells.
create or replace function switchyard.fail(p_job uuid, p_token bigint, p_error jsonb, p_delays double precision[], p_attempts int) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    j switchyard.jobs := switchyard.locked_by(p_job, p_token);
begin
    if j.id is null then
        return '{"outcome": "stale"}';
    end if;
    return switchyard.attempt_failed(j, p_error, p_delays, p_attempts);
end $$;

-- Ends an attempt whose lease has run out. Where its worker ended in the middle of it, the error says so. With p_quarantine a job is dead at once when two
-- attempts in a row ended that way and nothing else can be to blame for the second: it would go on taking workers down. Ten in five minutes at most,
-- since more than that is trouble of another kind.
create or replace function switchyard.reap(
    p_job uuid, p_token bigint, p_error jsonb, p_delays double precision[], p_attempts int, p_lease double precision default 30,
    p_quarantine boolean default false
) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    v_now timestamptz := clock_timestamp();
    j switchyard.jobs := switchyard.locked_by(p_job, p_token);
    v_ended boolean;
begin
    if j.id is null or j.lease_until > v_now then
        return '{"outcome": "stale"}';
    end if;
    -- Whether it ended: it has begun anew since the last heartbeat, as a container does in its pod. One that is silent may only be cut off.
    select started_at > j.lease_until - make_interval(secs => p_lease) into v_ended from switchyard.workers where name = j.worker;
    if v_ended is not true then
        return switchyard.attempt_failed(j, p_error, p_delays, p_attempts);
    end if;
    p_error := jsonb_build_object('code', 'worker-died', 'message', 'the worker that ran this attempt ended in the middle of it', 'permanent', false,
        'worker', j.worker);
    if p_quarantine and j.failures > 0 and j.history -> -1 ->> 'code' = 'worker-died'
        -- Another job that was there both times is as likely to be the one.
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

-- Hands a job back to its queue as if it had not been claimed.
create or replace function switchyard.give_back(p_job uuid, p_token bigint) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    j switchyard.jobs := switchyard.locked_by(p_job, p_token);
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
        case when j.parent_id is null then switchyard.recorded(j) else '[]' end);
end $$;
