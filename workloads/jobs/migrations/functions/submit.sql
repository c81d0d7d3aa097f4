-- Admits an analysis. Locks the tenant's row and no other, so tenants never wait for each other.
create or replace function switchyard.submit(
    p_job uuid, p_key_hash bytea, p_username text, p_input jsonb, p_idem_key text, p_idem_hash bytea, p_tiers jsonb, p_lanes jsonb
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_now timestamptz := clock_timestamp();
    v_day date := (v_now at time zone 'utc')::date;
    t switchyard.tenants;
    j switchyard.jobs;
    v_idem switchyard.idempotency;
    v_tier jsonb;
    v_limit int;
    v_price bigint;
    v_lane text;
    v_answer jsonb;
    v_event jsonb;
begin
    select tenants.* into t from switchyard.api_keys k join switchyard.tenants on tenants.id = k.tenant_id
    where k.hash = p_key_hash and k.revoked_at is null
    for update of tenants;
    if not found then
        return '{"outcome": "unauthenticated"}';
    end if;

    if p_idem_key is not null then
        select * into v_idem from switchyard.idempotency where tenant_id = t.id and key = p_idem_key;
        if found and v_idem.created_at > v_now - interval '24 hours' then
            if v_idem.request_hash <> p_idem_hash then
                return '{"outcome": "idempotency_conflict"}';
            end if;
            return v_idem.answer || '{"outcome": "replayed"}';
        elsif found then
            delete from switchyard.idempotency where tenant_id = t.id and key = p_idem_key;
        end if;
    end if;

    v_tier := p_tiers -> t.tier;
    v_limit := (v_tier ->> 'concurrent')::int;
    if t.running >= v_limit then
        return jsonb_build_object('outcome', 'concurrent_limit', 'limit', v_limit);
    end if;

    if t.day <> v_day then
        t.day := v_day;
        t.today := 0;
        t.discovered_today := 0;
    end if;
    v_limit := (v_tier ->> 'daily')::int;
    if t.today >= v_limit then -- null, no limit, is not true
        return jsonb_build_object('outcome', 'daily_limit', 'limit', v_limit, 'resets_at', (v_day + 1)::timestamp at time zone 'utc');
    end if;

    v_lane := v_tier ->> 'lane';
    if not switchyard.lane_has_room(v_lane, (p_lanes -> v_lane ->> 'capacity')::int) then
        return jsonb_build_object('outcome', 'lane_full', 'lane', v_lane, 'retry_after', switchyard.lane_retry_after(v_lane));
    end if;

    v_price := (v_tier ->> 'price')::bigint;
    if t.credits < v_price then
        return jsonb_build_object('outcome', 'insufficient_credits', 'balance', t.credits, 'price', v_price);
    end if;

    update switchyard.tenants
    set credits = credits - v_price, running = running + 1, day = t.day, today = t.today + 1, discovered_today = t.discovered_today
    where id = t.id returning * into t;
    -- The submitter publishes right after this commit; the relay looks a little later.
    insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, price, stage, seq, publish_at, created_at)
    values (p_job, t.id, p_job, 'api', 'general', v_lane, 'queued', p_username, p_input, v_price, 'queued', 1, v_now + interval '5 seconds', v_now)
    returning * into j;
    insert into switchyard.ledger (tenant_id, job_id, round, kind, amount, reason) values (t.id, p_job, 0, 'charge', -v_price, 'analysis');
    insert into switchyard.events (job_id, seq, state, progress, stage, at) values (p_job, 1, 'queued', 0, 'queued', v_now);
    v_event := jsonb_build_object('seq', 1, 'job', p_job, 'state', 'queued', 'progress', 0, 'stage', 'queued', 'at', v_now);

    v_answer := jsonb_build_object('job', switchyard.job_document(j), 'charged', v_price, 'balance', t.credits);
    if p_idem_key is not null then
        insert into switchyard.idempotency (tenant_id, key, request_hash, job_id, answer) values (t.id, p_idem_key, p_idem_hash, p_job, v_answer);
    end if;
    return v_answer || jsonb_build_object('outcome', 'accepted',
        'effects', jsonb_build_object('ready', jsonb_build_array(switchyard.pointer(j)), 'events', jsonb_build_array(v_event)));
end $$;

-- Whether another analysis may queue in a lane. Far from the limit nobody waits for anybody; near it submitters take turns, so that it is not overrun.
create or replace function switchyard.lane_has_room(p_lane text, p_capacity int) returns boolean
language plpgsql as $$
declare
    v_queued int;
begin
    select count(*) into v_queued from (
        select from switchyard.jobs where parent_id is null and state = 'queued' and lane = p_lane limit p_capacity
    ) queued;
    if v_queued + 32 < p_capacity then
        return true;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('switchyard lane ' || p_lane, 0));
    select count(*) into v_queued from (
        select from switchyard.jobs where parent_id is null and state = 'queued' and lane = p_lane limit p_capacity
    ) queued;
    return v_queued < p_capacity;
end $$;

-- Seconds until a place in a full lane is likely: the time that its last analyses took to leave the queue one after the other, within 1..60.
create or replace function switchyard.lane_retry_after(p_lane text) returns bigint
language sql stable as $$
    select coalesce(least(60, greatest(1, ceil(60.0 / nullif(count(*), 0)))), 60)::bigint
    from switchyard.jobs
    where parent_id is null and lane = p_lane and finished_at > now() - interval '1 minute'
$$;

-- Queues analyses of found profiles, on the low lane, as far as the tenant's daily and concurrent limits and the lane's capacity go.
-- p_found is [{id, username}]. Answers pointers to what was queued.
create or replace function switchyard.discover(j switchyard.jobs, p_found jsonb, p_tiers jsonb, p_lanes jsonb) returns jsonb
language plpgsql as $$
declare
    v_now timestamptz := clock_timestamp();
    v_day date := (v_now at time zone 'utc')::date;
    t switchyard.tenants;
    v_tier jsonb;
    v_open int;
    v_found jsonb;
    v_ready jsonb := '[]';
    n switchyard.jobs;
begin
    if jsonb_array_length(p_found) = 0 then
        return v_ready;
    end if;
    select * into t from switchyard.tenants where id = j.tenant_id for update;
    if t.day <> v_day then
        update switchyard.tenants set day = v_day, today = 0, discovered_today = 0 where id = t.id returning * into t;
    end if;
    v_tier := p_tiers -> t.tier;
    select count(*) into v_open from switchyard.jobs
    where tenant_id = t.id and parent_id is null and origin = 'discovery' and finished_at is null;
    for v_found in select * from jsonb_array_elements(p_found) loop
        exit when v_open >= (v_tier ->> 'concurrent')::int;
        exit when t.today + t.discovered_today >= (v_tier ->> 'daily')::int;
        exit when not switchyard.lane_has_room('low', (p_lanes -> 'low' ->> 'capacity')::int);
        continue when exists (
            select from switchyard.jobs
            where tenant_id = t.id and parent_id is null and username = v_found ->> 'username'
              and (finished_at is null or finished_at > v_now - interval '1 day')
        );
        insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, stage, seq, publish_at, created_at)
        values ((v_found ->> 'id')::uuid, t.id, (v_found ->> 'id')::uuid, 'discovery', 'general', 'low', 'queued', v_found ->> 'username',
            jsonb_build_object('username', v_found ->> 'username', 'force_refresh', false, 'origin', 'discovery',
                'depth', coalesce((j.input ->> 'depth')::int, 0) + 1),
            'queued', 1, v_now + interval '5 seconds', v_now)
        returning * into n;
        insert into switchyard.events (job_id, seq, state, progress, stage, at) values (n.id, 1, 'queued', 0, 'queued', v_now);
        update switchyard.tenants set discovered_today = discovered_today + 1 where id = t.id returning * into t;
        v_open := v_open + 1;
        v_ready := v_ready || switchyard.pointer(n);
    end loop;
    return v_ready;
end $$;
