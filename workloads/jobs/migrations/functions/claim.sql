-- Takes the jobs of a queue whose turn it is, p_most at most, for a worker. p_places is the number of analyses of the lane that may run at once in the
-- whole platform; null where there is no such limit. Answers the jobs in the order of their turns; with p_again, those that the same call took before.
create or replace function switchyard.claim(
    p_kind text, p_lane text, p_most int, p_places int, p_worker text, p_lease double precision, p_call uuid, p_again boolean
) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    v_now timestamptz;
    v_joins uuid[];
    v_fresh uuid[];
    v_free int;
    v_claims jsonb;
begin
    -- A call that is made again while the first one is still under way waits for what that has taken.
    perform pg_advisory_xact_lock(hashtextextended(p_call::text, 1));
    if p_again then
        select jsonb_agg(switchyard.claimed(j, case when j.kept is null then '[]' else switchyard.parts(j) end, '[]') order by turn) into v_claims from switchyard.jobs j
        where kind = p_kind and lane = p_lane and state = 'running' and call = p_call;
        if v_claims is not null then
            return v_claims;
        end if;
    end if;
    if exists (select from switchyard.paused_lanes where kind = p_kind and lane = p_lane) then
        return '[]';
    end if;
    -- Analyses that have begun keep their place in the lane while they wait for their parts.
    -- No stronger lock than the change itself takes: a request that has just joined the pipeline must not make it look taken.
    select array_agg(id) into v_joins from (
        select id from switchyard.jobs where kind = p_kind and lane = p_lane and state = 'waiting' and open_children = 0 and leader_id is null
        order by turn limit p_most for no key update skip locked) ready;
    v_free := p_most - coalesce(cardinality(v_joins), 0);
    if p_places is not null and v_free > 0 then
        -- One at a time, so that the lane never runs more than it may.
        perform pg_advisory_xact_lock(hashtextextended('switchyard places ' || p_lane, 0));
        select least(v_free, greatest(0, p_places - count(*))) into v_free from switchyard.jobs
        where lane = p_lane and kind = p_kind and state in ('running', 'waiting') and parent_id is null and leader_id is null;
    end if;
    v_now := clock_timestamp();
    if v_free > 0 then
        select array_agg(id) into v_fresh from (
            select id from switchyard.jobs
            where kind = p_kind and lane = p_lane and state in ('queued', 'retrying') and leader_id is null
              and (run_at is null or run_at <= v_now)
            order by turn limit v_free for no key update skip locked) queued;
    end if;

    with taken as (
        update switchyard.jobs
        set state = 'running', attempt = failures + 1, run_token = nextval('switchyard.run_tokens'), worker = p_worker, call = p_call,
            lease_until = v_now + make_interval(secs => p_lease), run_at = null, started_at = coalesce(started_at, v_now),
            seq = seq + case when parent_id is null then 1 else 0 end,
            stage = case when parent_id is null and kept is null then 'running' else stage end
        where id = any(v_joins || v_fresh)
        returning *
    ), mirrored as (
        update switchyard.jobs f
        set state = 'waiting', started_at = coalesce(f.started_at, v_now), progress = greatest(f.progress, t.progress), stage = t.stage,
            seq = f.seq + 1
        from taken t where f.leader_id = t.id and f.finished_at is null
        returning f.id, f.leader_id, f.seq, f.state, f.progress, f.stage
    ), told as (
        select id, id as leader, seq, state, progress, stage from taken where parent_id is null
        union all
        select id, leader_id, seq, state, progress, stage from mirrored
    ), recorded as (
        insert into switchyard.events (job_id, seq, state, progress, stage, at)
        select id, seq, switchyard.public_state(state), progress, stage, v_now from told
    ), grouped as (
        select leader, jsonb_agg(switchyard.event(id, seq, state, progress, stage, v_now)) as events from told group by leader
    )
    select jsonb_agg(switchyard.claimed(t, case when t.kept is null then '[]' else switchyard.parts(t) end, coalesce(g.events, '[]')) order by t.turn)
    into v_claims
    from taken t left join grouped g on g.leader = t.id;
    return coalesce(v_claims, '[]');
end $$;

-- A claimed job as its worker sees it.
create or replace function switchyard.claimed(j switchyard.jobs, p_parts jsonb, p_events jsonb) returns jsonb
language sql stable as $$
    select jsonb_build_object(
        'id', j.id, 'root', j.root_id, 'tenant', j.tenant_id, 'kind', j.kind, 'lane', j.lane, 'attempt', j.attempt,
        'username', j.username, 'input', j.input, 'corrects', j.corrects is not null, 'joins', j.kept is not null, 'kept', j.kept,
        'token', j.run_token, 'trace', j.trace, 'children', p_parts,
        -- Seconds since it was made; null after a replay, and of a correction, which has to wait for its time.
        'age_seconds', case when j.round = 0 and j.corrects is null then extract(epoch from clock_timestamp() - j.created_at) end,
        'effects', switchyard.effects('[]', p_events))
$$;

-- What became of a job's children, in their order.
create or replace function switchyard.parts(j switchyard.jobs) returns jsonb
language sql stable as $$
    select coalesce(jsonb_agg(jsonb_build_object('kind', c.kind, 'input', c.input, 'output', o.output,
        'error', case when c.state = 'completed' then null
            else coalesce(c.error, '{"code": "cancelled", "message": "cancelled", "permanent": true}') end)
        order by c.ordinal), '[]')
    from switchyard.jobs c left join switchyard.outputs o on o.job_id = c.id
    where c.root_id = j.root_id and c.parent_id = j.id
$$;

-- Extends leases and answers which are still held. Rows that somebody is changing are passed over: their holder is told the truth by the next beat.
create or replace function switchyard.heartbeat(p_jobs uuid[], p_tokens bigint[], p_lease double precision) returns jsonb
language sql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
    with held as (
        select j.id from unnest(p_jobs, p_tokens) as beat (id, token)
        join switchyard.jobs j on j.id = beat.id and j.run_token = beat.token
    ), free as (
        select j.id from switchyard.jobs j join held on held.id = j.id for no key update of j skip locked
    ), extended as (
        update switchyard.jobs j set lease_until = clock_timestamp() + make_interval(secs => p_lease)
        from free where j.id = free.id and j.run_token is not null
    )
    select coalesce(jsonb_agg(id), '[]') from held
$$;

-- Writes the progress of analyses that are still held.
create or replace function switchyard.progress(p_jobs uuid[], p_tokens bigint[], p_percents smallint[], p_stages text[]) returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan as $$
declare
    r record;
    v_moved switchyard.jobs;
    v_events jsonb := '[]';
begin
    -- In the order of ids, as everyone who locks several analyses.
    for r in
        select j.id, report.percent, report.stage
        from unnest(p_jobs, p_tokens, p_percents, p_stages) as report (id, token, percent, stage)
        join switchyard.jobs j on j.id = report.id and j.run_token = report.token
        where j.parent_id is null and (report.percent > j.progress or report.stage <> j.stage)
        order by j.id
        for no key update of j
    loop
        update switchyard.jobs set progress = greatest(progress, r.percent), stage = r.stage, seq = seq + 1 where id = r.id returning * into v_moved;
        v_events := v_events || switchyard.recorded(v_moved);
    end loop;
    return switchyard.effects('[]', v_events);
end $$;
