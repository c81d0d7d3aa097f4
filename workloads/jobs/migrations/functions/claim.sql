-- Claims up to p_limit jobs of a queue, in turn order. p_max_running is the number of analyses of
-- the lane that may run on the whole platform; null for no limit. Returns the claimed jobs in turn
-- order. With p_again, returns the jobs that the same call has claimed before, if there are any.
create or replace function switchyard.claim(
    p_kind text, p_lane text, p_limit int, p_max_running int, p_worker text, p_lease double precision, p_call uuid, p_again boolean
) returns jsonb
language plpgsql security definer as $$
declare
    v_now timestamptz;
    v_joins uuid[];
    v_fresh uuid[];
    v_free int;
    v_claims jsonb;
begin
    -- A repeated call waits for the first one, which may still run.
    perform pg_advisory_xact_lock(hashtextextended(p_call::text, 1));
    if p_again then
        select jsonb_agg(switchyard.claim_document(j, case when j.kept is null then '[]' else switchyard.children_of(j) end, '[]') order by turn) into v_claims from switchyard.jobs j
        where kind = p_kind and lane = p_lane and state = 'running' and call = p_call;
        if v_claims is not null then
            return v_claims;
        end if;
    end if;
    if exists (select from switchyard.paused_lanes where kind = p_kind and lane = p_lane) then
        return '[]';
    end if;
    -- An analysis counts as running while it waits for its children, so a join needs no free place.
    -- The lock is as weak as the update allows: a stronger one would skip a pipeline that a
    -- submission has just joined (for key share).
    select array_agg(id) into v_joins from (
        select id from switchyard.jobs where kind = p_kind and lane = p_lane and state = 'waiting' and open_children = 0 and leader_id is null
        order by turn limit p_limit for no key update skip locked) ready;
    v_free := p_limit - coalesce(cardinality(v_joins), 0);
    if p_max_running is not null and v_free > 0 then
        -- One claim at a time, so that the lane never exceeds its limit.
        perform pg_advisory_xact_lock(hashtextextended('switchyard max running ' || p_lane, 0));
        select least(v_free, greatest(0, p_max_running - count(*))) into v_free from switchyard.jobs
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

    with claimed as (
        update switchyard.jobs
        set state = 'running', attempt = failures + 1, run_token = nextval('switchyard.run_tokens'), worker = p_worker, call = p_call,
            lease_until = v_now + make_interval(secs => p_lease), run_at = null, started_at = coalesce(started_at, v_now),
            seq = seq + case when parent_id is null then 1 else 0 end,
            stage = case when parent_id is null and kept is null then 'running' else stage end
        where id = any(v_joins || v_fresh)
        returning *
    ), followers as (
        update switchyard.jobs f
        set state = 'waiting', started_at = coalesce(f.started_at, v_now), progress = greatest(f.progress, t.progress), stage = t.stage,
            seq = f.seq + 1
        from claimed t where f.leader_id = t.id and f.finished_at is null
        returning f.id, f.leader_id, f.seq, f.state, f.progress, f.stage
    ), changed as (
        select id, id as leader, seq, state, progress, stage from claimed where parent_id is null
        union all
        select id, leader_id, seq, state, progress, stage from followers
    ), recorded as (
        insert into switchyard.events (job_id, seq, state, progress, stage, at)
        select id, seq, switchyard.public_state(state), progress, stage, v_now from changed
    ), grouped as (
        select leader, jsonb_agg(switchyard.event(id, seq, state, progress, stage, v_now)) as events from changed group by leader
    )
    select jsonb_agg(switchyard.claim_document(t, case when t.kept is null then '[]' else switchyard.children_of(t) end, coalesce(g.events, '[]')) order by t.turn)
    into v_claims
    from claimed t left join grouped g on g.leader = t.id;
    return coalesce(v_claims, '[]');
end $$;

-- A claimed job as its worker gets it.
create or replace function switchyard.claim_document(j switchyard.jobs, p_children jsonb, p_events jsonb) returns jsonb
language sql stable as $$
    select jsonb_build_object(
        'id', j.id, 'root', j.root_id, 'tenant', j.tenant_id, 'kind', j.kind, 'lane', j.lane, 'attempt', j.attempt,
        'username', j.username, 'input', j.input, 'corrects', j.corrects is not null, 'joins', j.kept is not null, 'kept', j.kept,
        'token', j.run_token, 'trace', j.trace, 'children', p_children,
        -- Seconds since its creation; null after a replay, and for a correction, whose wait is
        -- intended.
        'age_seconds', case when j.round = 0 and j.corrects is null then extract(epoch from clock_timestamp() - j.created_at) end,
        'effects', switchyard.effects('[]', p_events))
$$;

-- The results of a job's children, in the order in which they were spawned.
create or replace function switchyard.children_of(j switchyard.jobs) returns jsonb
language sql stable as $$
    select coalesce(jsonb_agg(jsonb_build_object('kind', c.kind, 'input', c.input, 'output', o.output,
        'error', case when c.state = 'completed' then null
            else coalesce(c.error, '{"code": "cancelled", "message": "cancelled", "permanent": true}') end)
        order by c.ordinal), '[]')
    from switchyard.jobs c left join switchyard.outputs o on o.job_id = c.id
    where c.root_id = j.root_id and c.parent_id = j.id
$$;

-- Extends leases and returns the jobs that are still claimed. Locked rows are skipped, and count as
-- claimed until the next heartbeat.
create or replace function switchyard.heartbeat(p_jobs uuid[], p_tokens bigint[], p_lease double precision) returns jsonb
language sql security definer as $$
    with claimed as (
        select j.id from unnest(p_jobs, p_tokens) as beat (id, token)
        join switchyard.jobs j on j.id = beat.id and j.run_token = beat.token
    ), unlocked as (
        select j.id from switchyard.jobs j join claimed on claimed.id = j.id for no key update of j skip locked
    ), extended as (
        update switchyard.jobs j set lease_until = clock_timestamp() + make_interval(secs => p_lease)
        from unlocked where j.id = unlocked.id and j.run_token is not null
    )
    select coalesce(jsonb_agg(id), '[]') from claimed
$$;

-- Writes the progress of analyses that are still claimed.
create or replace function switchyard.progress(p_jobs uuid[], p_tokens bigint[], p_percents smallint[], p_stages text[]) returns jsonb
language plpgsql security definer as $$
declare
    r record;
    v_changed switchyard.jobs;
    v_events jsonb := '[]';
begin
    -- By ascending id, as all functions that lock several analyses.
    for r in
        select j.id, report.percent, report.stage
        from unnest(p_jobs, p_tokens, p_percents, p_stages) as report (id, token, percent, stage)
        join switchyard.jobs j on j.id = report.id and j.run_token = report.token
        where j.parent_id is null and (report.percent > j.progress or report.stage <> j.stage)
        order by j.id
        for no key update of j
    loop
        update switchyard.jobs set progress = greatest(progress, r.percent), stage = r.stage, seq = seq + 1 where id = r.id returning * into v_changed;
        v_events := v_events || switchyard.record_events(v_changed);
    end loop;
    return switchyard.effects('[]', v_events);
end $$;
