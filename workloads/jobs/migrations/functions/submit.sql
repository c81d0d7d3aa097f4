-- Admits a batch of analyses in one round trip.
--
-- Locks the rows of their tenants only, so tenants do not wait for each other (except near the
-- capacity of a lane, see lane_room). A request whose tenant is locked is answered 'busy' and may
-- be repeated; with p_wait it waits. Requests of one tenant are admitted in the order of the batch.
-- Returns one row for each request, in their order: an accepted one in columns, because there are
-- thousands a second, any other answer as a document.
create or replace function switchyard.submit(
    p_jobs uuid[], p_keys bytea[], p_usernames text[], p_forced boolean[], p_idem_keys text[], p_idem_hashes bytea[],
    p_tiers jsonb, p_lanes jsonb, p_wait boolean, p_traces text[] default null
) returns table (outcome text, tenant uuid, lane text, at timestamptz, charged bigint, balance bigint, coalesced boolean, document jsonb)
language plpgsql security definer as $$
#variable_conflict use_column
declare
    v_now timestamptz;
    v_day date;
    v_tenants switchyard.tenants[];
    v_lane text;
    v_room jsonb := '{}';
begin
    if p_wait then
        select array_agg(t) into v_tenants from (
            select * from switchyard.tenants
            where id in (select tenant_id from switchyard.api_keys where hash = any(p_keys) and revoked_at is null)
            order by id for no key update) t;
    else
        select array_agg(t) into v_tenants from (
            select * from switchyard.tenants
            where id in (select tenant_id from switchyard.api_keys where hash = any(p_keys) and revoked_at is null)
            order by id for no key update skip locked) t;
    end if;
    for v_lane in select distinct p_tiers -> t.tier ->> 'lane' as lane from unnest(v_tenants) t order by lane loop
        v_room := v_room || jsonb_build_object(v_lane, switchyard.lane_room(v_lane, (p_lanes -> v_lane ->> 'capacity')::int));
    end loop;
    -- After the locks: from here on no other transaction decides about these tenants and lanes.
    v_now := clock_timestamp();
    v_day := (v_now at time zone 'utc')::date;

    return query
    with asked as materialized (
        select a.*, k.tenant_id
        from unnest(p_jobs, p_keys, p_usernames, p_forced, p_idem_keys, p_idem_hashes, p_traces) with ordinality
            as a (job, hash, username, forced, idem_key, idem_hash, trace, place)
        left join switchyard.api_keys k on k.hash = a.hash and k.revoked_at is null
    ), known as (
        select a.*, t.tier, t.credits, t.running, case when t.day = v_day then t.today else 0 end as today,
            (l.rules ->> 'concurrent')::int as concurrent, (l.rules ->> 'daily')::int as daily, (l.rules ->> 'price')::bigint as price,
            l.rules ->> 'lane' as lane, switchyard.lane_rank(l.rules ->> 'lane') as rank,
            i.answer as before, i.request_hash is distinct from a.idem_hash as differs,
            case
                when a.tenant_id is null then 'unauthenticated'
                when t.id is null then 'busy'
                when i.job_id is not null then 'before'
                -- A key twice in one batch: repeated, the second finds the answer of the first.
                when a.idem_key is not null and row_number() over (partition by a.tenant_id, a.idem_key order by a.place) > 1 then 'busy'
            end as outcome
        from asked a
        left join unnest(v_tenants) t on t.id = a.tenant_id
        left join lateral (select p_tiers -> t.tier as rules) l on true
        -- The limit enforces an index lookup, however small the table was when this was planned.
        left join lateral (
            select job_id, answer, request_hash from switchyard.idempotency
            where tenant_id = a.tenant_id and key = a.idem_key and created_at > v_now - interval '24 hours' limit 1
        ) i on true
    ), numbered as (
        select *, row_number() over (partition by tenant_id order by place) as n from known where outcome is null
    ), judged as (
        select *, case
            when running + n > concurrent then 'concurrent_limit'
            when today + n > daily then 'daily_limit' -- null, no limit, is not true
            when credits < price * n then 'insufficient_credits'
        end as refusal from numbered
    ), placed as (
        select *, row_number() over (partition by lane order by place) <= (v_room ->> lane)::int as fits from judged where refusal is null
    ), found as (
        select p.*, leader.id as found from placed p
        -- Only a leader in the same or a higher lane: its children and retries wait in no lower
        -- lane than the request's own. A locked leader is skipped.
        left join lateral (
            select id from switchyard.jobs j
            where not p.forced and j.username = p.username and parent_id is null and leader_id is null and finished_at is null
              and state <> 'retrying' and switchyard.lane_rank(j.lane) <= p.rank
            limit 1 for key share skip locked
        ) leader on true
        where p.fits
    ), led as (
        select *, coalesce(found, case
            when not forced and row_number() over same > 1 and first_value(rank) over same <= rank
            then coalesce(first_value(found) over same, first_value(job) over same)
        end) as leader
        from found window same as (partition by username order by place)
    ), created as (
        insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, price, stage, seq, turn, leader_id, trace, created_at)
        select job, tenant_id, job, 'api', 'general', lane, 'queued', username,
            jsonb_build_object('username', username, 'force_refresh', forced, 'origin', 'api', 'depth', 0), price, 'queued', 1,
            v_now + make_interval(secs => (running + n - 1) * (p_lanes -> lane ->> 'timeoutSeconds')::double precision), leader, trace, v_now
        from led
    ), charges as (
        insert into switchyard.ledger (tenant_id, job_id, round, kind, amount, reason)
        select tenant_id, job, 0, 'charge', -price, 'analysis' from led
    ), charged as (
        update switchyard.tenants t
        set credits = t.credits - m.price, running = t.running + m.n, today = case when t.day = v_day then t.today else 0 end + m.n,
            discovered_today = case when t.day = v_day then t.discovered_today else 0 end, day = v_day
        from (select tenant_id, sum(price) as price, count(*)::int as n from led group by tenant_id) m
        where t.id = m.tenant_id
    ), remembered as (
        insert into switchyard.idempotency (tenant_id, key, request_hash, job_id, answer)
        select tenant_id, idem_key, idem_hash, job, jsonb_build_object('job', job, 'tenant', tenant_id, 'username', username, 'lane', lane, 'at', v_now,
            'charged', price, 'balance', credits - price * n, 'coalesced', leader is not null)
        from led where idem_key is not null
        on conflict (tenant_id, key) do update
        set request_hash = excluded.request_hash, job_id = excluded.job_id, answer = excluded.answer, created_at = v_now
    ), waits as materialized (
        -- Once for each lane, whatever the number of refusals.
        select lane, switchyard.lane_retry_after(lane) as seconds
        from (select lane from judged where refusal = 'concurrent_limit' union select lane from placed where not fits) refused
    ), answers (place, outcome, tenant, lane, charged, balance, coalesced, document) as (
        select place, 'accepted', tenant_id, lane, price, credits - price * n, leader is not null, null::jsonb from led
        union all
        select place, case when outcome = 'before' then case when differs then 'idempotency_conflict' else 'replayed' end else outcome end,
            tenant_id, lane, null, null, null, case when outcome = 'before' and not differs then switchyard.first_answer(before) end
        from known where outcome is not null
        union all
        select place, refusal, tenant_id, lane, null, null, null, case refusal
            when 'concurrent_limit' then jsonb_build_object('limit', concurrent, 'retry_after', (select seconds from waits where waits.lane = judged.lane))
            when 'daily_limit' then jsonb_build_object('limit', daily, 'resets_at', (v_day + 1)::timestamp at time zone 'utc')
            else jsonb_build_object('balance', greatest(0, credits - price * (n - 1)), 'price', price)
        end from judged where refusal is not null
        union all
        select place, 'lane_full', tenant_id, lane, null, null, null,
            jsonb_build_object('lane', lane, 'retry_after', (select seconds from waits where waits.lane = placed.lane))
        from placed where not fits
    )
    select a.outcome, a.tenant, a.lane, v_now, a.charged, a.balance, a.coalesced, a.document from answers a order by place;
end $$;

-- The first answer under an idempotency key, which is stored in short form, with the job as it was
-- accepted.
create or replace function switchyard.first_answer(p_answer jsonb) returns jsonb
language sql immutable as $$
    select jsonb_build_object('charged', p_answer -> 'charged', 'balance', p_answer -> 'balance', 'job', jsonb_build_object(
        'id', p_answer -> 'job', 'tenant', p_answer -> 'tenant', 'parent', null, 'origin', 'api', 'state', 'queued', 'kind', 'general',
        'lane', p_answer -> 'lane', 'username', p_answer -> 'username', 'attempt', 0, 'progress', 0, 'stage', 'queued', 'error', null,
        'run_at', null, 'created_at', p_answer -> 'at', 'started_at', null, 'finished_at', null))
$$;

-- How many more analyses may be queued in a lane. Corrections do not count.
--
-- Far from the limit no submission waits for another, and a count may be 0.1 s old, or older with
-- more room. Near the limit submissions take turns and count, so that it is not exceeded. Far is
-- more than all processes together could admit meanwhile, each with two batches of 256 in flight.
create or replace function switchyard.lane_room(p_lane text, p_capacity int) returns int
language plpgsql as $$
declare
    v_far constant int := 25600;
    v_name constant text := 'switchyard.queued_' || p_lane;
    v_seen text[];
    v_now double precision;
    v_queued int;
begin
    if p_capacity > v_far then
        v_now := extract(epoch from clock_timestamp());
        -- The last count of this session. It applies to every user of the connection.
        v_seen := string_to_array(nullif(current_setting(v_name, true), ''), ' ');
        if v_seen[1]::double precision between v_now - least(2, 0.1 * (p_capacity - v_seen[2]::int) / v_far) and v_now then
            v_queued := v_seen[2];
        else
            select count(*) into v_queued from (
                select from switchyard.jobs where kind = 'general' and lane = p_lane and state in ('queued', 'retrying') and parent_id is null
                order by turn limit p_capacity
            ) queued;
            perform set_config(v_name, v_now || ' ' || v_queued, false);
        end if;
        if v_queued + v_far < p_capacity then
            return p_capacity - v_queued;
        end if;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('switchyard lane ' || p_lane, 0));
    select count(*) into v_queued from (
        select from switchyard.jobs where kind = 'general' and lane = p_lane and state = 'queued' and parent_id is null order by turn limit p_capacity
    ) queued;
    return p_capacity - v_queued;
end $$;

-- Seconds until a lane is likely to have room: the interval at which its analyses ended lately,
-- within 1..60.
create or replace function switchyard.lane_retry_after(p_lane text) returns bigint
language sql stable as $$
    select coalesce(ceil(60.0 / nullif(count(*), 0)), 60)::bigint
    from (
        select from switchyard.jobs
        where finished_at > now() - interval '1 minute' and parent_id is null and lane = p_lane limit 60
    ) ended
$$;

-- Queues analyses of discovered profiles on the low lane, within the tenant's daily and concurrent
-- limits and the lane's capacity. p_found is [{id, username}]. Returns the queue of each new
-- analysis.
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
    select count(*) into v_open from (
        select tenant_id, origin from switchyard.jobs where kind = 'general' and lane = 'low' and state in ('queued', 'retrying')
        union all
        select tenant_id, origin from switchyard.jobs where kind = 'general' and lane = 'low' and state in ('running', 'waiting')
    ) open where tenant_id = t.id and origin = 'discovery';
    for v_found in select * from jsonb_array_elements(p_found) loop
        exit when v_open >= (v_tier ->> 'concurrent')::int;
        exit when t.today + t.discovered_today >= (v_tier ->> 'daily')::int;
        exit when switchyard.lane_room('low', (p_lanes -> 'low' ->> 'capacity')::int) < 1;
        continue when exists (
            select from switchyard.jobs
            where username = v_found ->> 'username' and parent_id is null and leader_id is null and finished_at is null and tenant_id = t.id
        ) or exists (
            select from switchyard.jobs l join switchyard.jobs f on f.leader_id = l.id and f.finished_at is null
            where l.username = v_found ->> 'username' and l.parent_id is null and l.leader_id is null and l.finished_at is null and f.tenant_id = t.id
        ) or exists (
            select from switchyard.jobs
            where tenant_id = t.id and username = v_found ->> 'username' and parent_id is null and finished_at > v_now - interval '1 day'
        );
        insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, stage, seq, turn, trace, created_at)
        values ((v_found ->> 'id')::uuid, t.id, (v_found ->> 'id')::uuid, 'discovery', 'general', 'low', 'queued', v_found ->> 'username',
            jsonb_build_object('username', v_found ->> 'username', 'force_refresh', false, 'origin', 'discovery',
                'depth', coalesce((j.input ->> 'depth')::int, 0) + 1),
            'queued', 1,
            v_now + make_interval(secs => v_open * (p_lanes -> 'low' ->> 'timeoutSeconds')::double precision), j.trace, v_now)
        returning * into n;
        update switchyard.tenants set discovered_today = discovered_today + 1 where id = t.id returning * into t;
        v_open := v_open + 1;
        v_ready := v_ready || switchyard.queue(n);
    end loop;
    return v_ready;
end $$;
