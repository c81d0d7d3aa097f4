-- What admins change, and read of a tenant.

-- A tenant with the sum of its ledger.
create or replace function switchyard.tenant_report(p_tenant uuid) returns jsonb
language sql stable security definer as $$
    select jsonb_build_object('id', t.id, 'name', t.name, 'tier', t.tier, 'credits', t.credits, 'running', t.running,
        'today', case when t.day = (now() at time zone 'utc')::date then t.today else 0 end, 'created_at', t.created_at,
        'ledger_sum', (select coalesce(sum(amount), 0)::bigint from switchyard.ledger where tenant_id = t.id))
    from switchyard.tenants t where t.id = p_tenant
$$;

create or replace function switchyard.create_tenant(p_id uuid, p_name text, p_tier text, p_credits bigint) returns jsonb
language plpgsql security definer as $$
begin
    insert into switchyard.tenants (id, name, tier, credits) values (p_id, p_name, p_tier, p_credits);
    if p_credits <> 0 then
        insert into switchyard.ledger (tenant_id, kind, amount, reason) values (p_id, 'grant', p_credits, 'first credits');
    end if;
    return switchyard.tenant_report(p_id);
end $$;

create or replace function switchyard.create_key(p_id uuid, p_tenant uuid, p_hash bytea) returns boolean
language plpgsql security definer as $$
begin
    insert into switchyard.api_keys (id, tenant_id, hash) select p_id, t.id, p_hash from switchyard.tenants t where t.id = p_tenant;
    return found;
end $$;

create or replace function switchyard.revoke_key(p_tenant uuid, p_key uuid) returns boolean
language plpgsql security definer as $$
begin
    update switchyard.api_keys set revoked_at = coalesce(revoked_at, now()) where id = p_key and tenant_id = p_tenant;
    return found;
end $$;

-- Adds credits, which may be negative, unless the balance would become negative. Null for an
-- unknown tenant.
create or replace function switchyard.grant_credits(p_tenant uuid, p_amount bigint, p_reason text) returns jsonb
language plpgsql security definer as $$
declare
    v_balance bigint;
begin
    select credits into v_balance from switchyard.tenants where id = p_tenant for update;
    if not found then
        return null;
    end if;
    if v_balance + p_amount < 0 then
        return jsonb_build_object('granted', false, 'balance', v_balance);
    end if;
    update switchyard.tenants set credits = credits + p_amount where id = p_tenant returning credits into v_balance;
    insert into switchyard.ledger (tenant_id, kind, amount, reason) values (p_tenant, 'grant', p_amount, p_reason);
    return jsonb_build_object('granted', true, 'balance', v_balance);
end $$;

-- Queues a dead analysis again, from the beginning, and charges its price: it was refunded at its
-- death. The tenant's concurrent limit applies, its daily limit does not.
create or replace function switchyard.replay(p_job uuid, p_tiers jsonb) returns jsonb
language plpgsql security definer as $$
declare
    j switchyard.jobs;
    t switchyard.tenants;
    v_limit int;
    v_balance bigint;
begin
    select * into j from switchyard.jobs where id = p_job and parent_id is null for update;
    if not found then
        return '{"outcome": "not_found"}';
    end if;
    if j.state <> 'dead' or j.discarded_at is not null then
        return jsonb_build_object('outcome', 'not_dead', 'job', switchyard.job_document(j));
    end if;
    select * into t from switchyard.tenants where id = j.tenant_id for update;
    v_limit := (p_tiers -> t.tier ->> 'concurrent')::int;
    if j.origin = 'api' and t.running >= v_limit then
        return jsonb_build_object('outcome', 'concurrent_limit', 'limit', v_limit, 'retry_after', switchyard.lane_retry_after(j.lane));
    end if;
    if t.credits < j.price then
        return jsonb_build_object('outcome', 'insufficient_credits', 'balance', t.credits, 'price', j.price);
    end if;
    -- The new round spawns its own children.
    delete from switchyard.outputs o using switchyard.jobs c where c.root_id = j.id and c.parent_id is not null and o.job_id = c.id;
    delete from switchyard.jobs where root_id = j.id and parent_id is not null;
    update switchyard.jobs
    set state = 'queued', round = round + 1, attempt = 0, failures = 0, error = null, progress = 0, stage = 'queued', kept = null, children = 0,
        open_children = 0, run_at = null, turn = clock_timestamp(), leader_id = null, started_at = null, finished_at = null, seq = seq + 1
    where id = j.id returning * into j;
    update switchyard.tenants
    set credits = credits - j.price, running = running + case when j.origin = 'api' then 1 else 0 end
    where id = j.tenant_id returning credits into v_balance;
    if j.price <> 0 then
        insert into switchyard.ledger (tenant_id, job_id, round, kind, amount, reason)
        values (j.tenant_id, j.id, j.round, 'charge', -j.price, 'replay');
    end if;
    return jsonb_build_object('outcome', 'replayed', 'job', switchyard.job_document(j), 'charged', j.price, 'balance', v_balance,
        'effects', switchyard.effects(jsonb_build_array(switchyard.queue(j)), switchyard.record_events(j)));
end $$;

-- Discards a dead analysis: it can no longer be replayed.
create or replace function switchyard.discard(p_job uuid) returns boolean
language plpgsql security definer as $$
begin
    update switchyard.jobs set discarded_at = clock_timestamp()
    where id = p_job and parent_id is null and state = 'dead' and discarded_at is null;
    return found;
end $$;

-- Pauses or resumes claims from a queue. Returns the queue, once for each job that becomes
-- claimable, 500 at most.
create or replace function switchyard.pause(p_kind text, p_lane text, p_paused boolean) returns jsonb
language plpgsql security definer as $$
begin
    if p_paused then
        insert into switchyard.paused_lanes (kind, lane) values (p_kind, p_lane) on conflict do nothing;
        return '[]';
    end if;
    delete from switchyard.paused_lanes where kind = p_kind and lane = p_lane;
    if not found then
        return '[]';
    end if;
    -- Tickets of the pause led to no claim. The relay publishes those beyond the limit.
    return (
        select coalesce(jsonb_agg(jsonb_build_object('kind', p_kind, 'lane', p_lane)), '[]')
        from generate_series(1, switchyard.claimable(p_kind, p_lane, 500, interval '0')));
end $$;
