-- How attempts and jobs end.

-- Tells a job that one of its children has ended, in a way that it can live with. Moves the analysis' progress: children are its middle, from what it
-- had reached before them to 90. The caller holds the root's lock.
create or replace function switchyard.child_ended(p_parent uuid) returns jsonb
language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    p switchyard.jobs;
    v_ready jsonb := '[]';
    v_events jsonb := '[]';
begin
    update switchyard.jobs
    set open_children = open_children - 1,
        publish_at = case when open_children = 1 then v_now + interval '5 seconds' end,
        progress = case when parent_id is null then greatest(progress, 10 + 80 * (children - open_children + 1) / children) else progress end
    where id = p_parent and state = 'waiting' and open_children > 0
    returning * into p;
    if not found then
        return switchyard.no_effects();
    end if;
    if p.open_children = 0 then
        v_ready := jsonb_build_array(switchyard.pointer(p));
    end if;
    if p.parent_id is null then
        v_events := jsonb_build_array(switchyard.record_event(p.id));
    end if;
    return jsonb_build_object('ready', v_ready, 'events', v_events);
end $$;

-- Ends a job well.
create or replace function switchyard.complete(p_job uuid, p_token bigint, p_output jsonb, p_found jsonb, p_tiers jsonb, p_lanes jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    j switchyard.jobs := switchyard.locked_by(p_job, p_token);
    r switchyard.jobs;
    v_effects jsonb;
    v_found jsonb;
begin
    if j.id is null then
        return null;
    end if;
    insert into switchyard.outputs (job_id, output) values (j.id, p_output);
    update switchyard.jobs
    set state = 'completed', finished_at = clock_timestamp(), run_token = null, lease_until = null, progress = 100, error = null,
        stage = case when parent_id is null then 'completed' else stage end
    where id = j.id returning * into j;
    if j.parent_id is null then
        v_effects := jsonb_build_object('ready', '[]'::jsonb, 'events', jsonb_build_array(switchyard.record_event(j.id)));
        perform switchyard.release(j);
    else
        v_effects := switchyard.child_ended(j.parent_id);
    end if;
    -- The tenant comes last, as everywhere; what was found belongs to the analysis.
    select * into r from switchyard.jobs where id = j.root_id;
    v_found := switchyard.discover(r, p_found, p_tiers, p_lanes);
    return jsonb_set(v_effects, '{ready}', v_effects -> 'ready' || v_found);
end $$;

-- Ends a job for good because of p_error: its descendants are cancelled; an analysis gives its credits back; a part takes its parent along when it is
-- required, else its parent goes on without it. The caller holds the root's lock.
create or replace function switchyard.die(p_job uuid, p_error jsonb) returns jsonb
language plpgsql as $$
declare
    j switchyard.jobs;
begin
    update switchyard.jobs
    set state = 'dead', finished_at = clock_timestamp(), run_token = null, lease_until = null, run_at = null, publish_at = null,
        error = p_error, stage = case when parent_id is null then 'dead' else stage end
    where id = p_job and finished_at is null
    returning * into j;
    if not found then
        return switchyard.no_effects();
    end if;
    perform switchyard.cancel_below(j.id);
    if j.parent_id is null then
        perform switchyard.release(j);
        perform switchyard.refund(j, 'analysis failed: ' || coalesce(p_error ->> 'code', 'unknown'));
        return jsonb_build_object('ready', '[]'::jsonb, 'events', jsonb_build_array(switchyard.record_event(j.id)));
    elsif j.required then
        return switchyard.die(j.parent_id, p_error);
    else
        return switchyard.child_ended(j.parent_id);
    end if;
end $$;

-- Ends the attempt of a job that the caller has locked.
create or replace function switchyard.attempt_failed(j switchyard.jobs, p_error jsonb, p_delays double precision[], p_attempts int) returns jsonb
language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    v_delay double precision;
    v_events jsonb := '[]';
begin
    update switchyard.jobs
    set failures = failures + 1,
        history = history || jsonb_build_array(p_error || jsonb_build_object('attempt', attempt, 'at', v_now))
    where id = j.id returning * into j;
    if (p_error ->> 'permanent')::boolean or j.failures >= p_attempts then
        return jsonb_build_object('outcome', 'dead', 'effects', switchyard.die(j.id, p_error));
    end if;
    -- Whoever asks for more than a day's patience gets a day.
    v_delay := greatest(coalesce(p_delays[j.failures], 0), least(coalesce((p_error ->> 'retry_after_seconds')::double precision, 0), 86400));
    update switchyard.jobs
    set state = 'retrying', run_at = v_now + make_interval(secs => v_delay), publish_at = v_now + make_interval(secs => v_delay), publishes = 0,
        run_token = null, lease_until = null, worker = null, error = p_error,
        stage = case when parent_id is null then 'retrying' else stage end
    where id = j.id returning * into j;
    if j.parent_id is null then
        v_events := jsonb_build_array(switchyard.record_event(j.id));
    end if;
    return jsonb_build_object('outcome', 'retrying', 'run_at', j.run_at,
        'effects', jsonb_build_object('ready', '[]'::jsonb, 'events', v_events));
end $$;

-- Ends an attempt badly, as its worker tells.
create or replace function switchyard.fail(p_job uuid, p_token bigint, p_error jsonb, p_delays double precision[], p_attempts int) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    j switchyard.jobs := switchyard.locked_by(p_job, p_token);
begin
    if j.id is null then
        return '{"outcome": "stale"}';
    end if;
    return switchyard.attempt_failed(j, p_error, p_delays, p_attempts);
end $$;

-- Ends an attempt whose lease has run out.
create or replace function switchyard.reap(p_job uuid, p_token bigint, p_error jsonb, p_delays double precision[], p_attempts int) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    j switchyard.jobs := switchyard.locked_by(p_job, p_token);
begin
    if j.id is null or j.lease_until > clock_timestamp() then
        return '{"outcome": "stale"}';
    end if;
    return switchyard.attempt_failed(j, p_error, p_delays, p_attempts);
end $$;

-- Hands a job back to its queue as if it had not been claimed.
create or replace function switchyard.give_back(p_job uuid, p_token bigint) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_now timestamptz := clock_timestamp();
    j switchyard.jobs := switchyard.locked_by(p_job, p_token);
    v_events jsonb := '[]';
begin
    if j.id is null then
        return null;
    end if;
    update switchyard.jobs
    set state = case when kept is not null then 'waiting' when failures > 0 then 'retrying' else 'queued' end,
        attempt = failures, run_at = case when failures > 0 then v_now end, publish_at = v_now + interval '5 seconds', publishes = 0,
        run_token = null, lease_until = null, worker = null,
        stage = case when parent_id is null and kept is null then 'queued' else stage end
    where id = j.id returning * into j;
    if j.parent_id is null then
        v_events := jsonb_build_array(switchyard.record_event(j.id));
    end if;
    return jsonb_build_object('ready', jsonb_build_array(switchyard.pointer(j)), 'events', v_events);
end $$;
