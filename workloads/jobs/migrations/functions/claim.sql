-- Takes a job for a worker, if it can be taken; null otherwise.
create or replace function switchyard.claim(p_job uuid, p_kind text, p_worker text, p_lease double precision) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_now timestamptz := clock_timestamp();
    v_root uuid;
    j switchyard.jobs;
    v_events jsonb := '[]';
    v_children jsonb := '[]';
begin
    -- Most messages that lead to nothing end here, without a lock.
    select root_id into v_root from switchyard.jobs
    where id = p_job and kind = p_kind and publish_at is not null;
    if not found then
        return null;
    end if;
    perform 1 from switchyard.jobs where id = v_root for update;
    update switchyard.jobs
    set state = 'running', attempt = failures + 1, run_token = nextval('switchyard.run_tokens'), worker = p_worker,
        lease_until = v_now + make_interval(secs => p_lease), run_at = null, publish_at = null, publishes = 0,
        started_at = coalesce(started_at, v_now),
        stage = case when parent_id is null and state <> 'waiting' then 'running' else stage end
    where id = p_job and kind = p_kind
      and (state = 'queued' or (state = 'retrying' and run_at <= v_now) or (state = 'waiting' and open_children = 0))
      and not exists (select from switchyard.paused_lanes p where p.kind = jobs.kind and p.lane = jobs.lane)
    returning * into j;
    if not found then
        return null;
    end if;
    if j.parent_id is null then
        v_events := jsonb_build_array(switchyard.record_event(j.id));
    end if;
    if j.kept is not null then
        select coalesce(jsonb_agg(jsonb_build_object('kind', c.kind, 'input', c.input, 'output', o.output,
            'error', case when c.state = 'completed' then null
                else coalesce(c.error, '{"code": "cancelled", "message": "cancelled", "permanent": true}') end)
            order by c.ordinal), '[]')
        into v_children
        from switchyard.jobs c left join switchyard.outputs o on o.job_id = c.id
        where c.root_id = j.root_id and c.parent_id = j.id;
    end if;
    return jsonb_build_object(
        'id', j.id, 'root', j.root_id, 'tenant', j.tenant_id, 'kind', j.kind, 'lane', j.lane, 'attempt', j.attempt,
        'username', j.username, 'input', j.input, 'joins', j.kept is not null, 'kept', j.kept, 'children', v_children,
        'token', j.run_token, 'effects', jsonb_build_object('ready', '[]'::jsonb, 'events', v_events));
end $$;

-- Extends leases and answers which are still held. Rows that somebody is changing are passed over: their holder is told the truth by the next beat.
create or replace function switchyard.heartbeat(p_jobs uuid[], p_tokens bigint[], p_lease double precision) returns jsonb
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with held as (
        select j.id from unnest(p_jobs, p_tokens) as beat (id, token)
        join switchyard.jobs j on j.id = beat.id and j.run_token = beat.token
    ), free as (
        select j.id from switchyard.jobs j join held on held.id = j.id for update of j skip locked
    ), extended as (
        update switchyard.jobs j set lease_until = clock_timestamp() + make_interval(secs => p_lease)
        from free where j.id = free.id and j.run_token is not null
    )
    select coalesce(jsonb_agg(id), '[]') from held
$$;

-- Writes the progress of analyses that are still held.
create or replace function switchyard.progress(p_jobs uuid[], p_tokens bigint[], p_percents smallint[], p_stages text[]) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    r record;
    v_events jsonb := '[]';
begin
    -- In the order of ids, as everyone who locks several analyses.
    for r in
        select j.id, report.percent, report.stage
        from unnest(p_jobs, p_tokens, p_percents, p_stages) as report (id, token, percent, stage)
        join switchyard.jobs j on j.id = report.id and j.run_token = report.token
        where j.parent_id is null and (report.percent > j.progress or report.stage <> j.stage)
        order by j.id
        for update of j
    loop
        update switchyard.jobs set progress = greatest(progress, r.percent), stage = r.stage where id = r.id;
        v_events := v_events || switchyard.record_event(r.id);
    end loop;
    return jsonb_build_object('ready', '[]'::jsonb, 'events', v_events);
end $$;
