-- What the API reads.
--
-- A tenant's reads run with the caller's rights. First they set `switchyard.tenant` until the end
-- of the transaction, so row-level security hides all rows of other tenants. The next user of the
-- connection inherits nothing, not even behind a pooler in transaction mode. Their conditions name
-- the tenant as well, because policies do not bind the owner of the tables. Reads of admins span
-- tenants and run with the owner's rights.

-- The tenant of an API key that is not revoked.
create or replace function switchyard.authenticate(p_hash bytea) returns jsonb
language sql stable security definer as $$
    select jsonb_build_object('id', t.id, 'name', t.name, 'tier', t.tier)
    from switchyard.api_keys k join switchyard.tenants t on t.id = k.tenant_id
    where k.hash = p_hash and k.revoked_at is null
$$;

-- An analysis of a tenant.
create or replace function switchyard.tenant_job(p_tenant uuid, p_job uuid) returns jsonb
language plpgsql as $$
begin
    perform set_config('switchyard.tenant', p_tenant::text, true);
    return (select switchyard.job_document(j) from switchyard.jobs j
            where j.id = p_job and j.tenant_id = p_tenant and j.parent_id is null);
end $$;

-- A job of any tenant, children included.
create or replace function switchyard.any_job(p_job uuid) returns jsonb
language sql stable security definer as $$
    select switchyard.job_document(j) from switchyard.jobs j where j.id = p_job
$$;

-- Analyses, newest first. A condition that is null does not apply. p_search is an id, or a prefix
-- of a name. Planned for each call, because the best index depends on the conditions.
create or replace function switchyard.job_page(
    p_tenant uuid, p_state text, p_lane text, p_discovered boolean, p_before uuid, p_limit bigint, p_search text
) returns setof jsonb
language plpgsql stable set plan_cache_mode = force_custom_plan as $$
declare
    v_states text[] := case p_state when 'running' then '{running,waiting}' else array[p_state] end;
begin
    if p_search ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
        return query select switchyard.job_document(j) from switchyard.jobs j
        where j.id = p_search::uuid and j.parent_id is null
          and (p_tenant is null or j.tenant_id = p_tenant) and (p_state is null or j.state = any(v_states)) and (p_lane is null or j.lane = p_lane)
          and (p_before is null or j.id < p_before);
    elsif p_search is not null then
        -- No character of a name sorts after '~'.
        return query select switchyard.job_document(hit) from (
            select j.* from switchyard.jobs j
            where j.parent_id is null and j.finished_at is not null and j.username >= p_search and j.username < p_search || '~'
            union all
            select j.* from switchyard.jobs j
            where j.parent_id is null and j.state in ('queued', 'retrying') and j.username >= p_search and j.username < p_search || '~'
            union all
            select j.* from switchyard.jobs j
            where j.parent_id is null and j.state in ('running', 'waiting') and j.username >= p_search and j.username < p_search || '~'
        ) hit
        where (p_tenant is null or hit.tenant_id = p_tenant) and (p_state is null or hit.state = any(v_states))
          and (p_lane is null or hit.lane = p_lane) and (p_discovered or hit.origin <> 'discovery') and (p_before is null or hit.id < p_before)
        order by hit.id desc limit p_limit;
    elsif p_state is null then
        return query select switchyard.job_document(j) from switchyard.jobs j
        where j.parent_id is null
          and (p_tenant is null or j.tenant_id = p_tenant) and (p_lane is null or j.lane = p_lane)
          and (p_discovered or j.origin <> 'discovery') and (p_before is null or j.id < p_before)
        order by j.id desc limit p_limit;
    else
        return query select switchyard.job_document(j) from switchyard.jobs j
        where j.parent_id is null and j.state = any(v_states)
          and (p_tenant is null or j.tenant_id = p_tenant) and (p_lane is null or j.lane = p_lane)
          and (p_discovered or j.origin <> 'discovery') and (p_before is null or j.id < p_before)
        order by j.id desc limit p_limit;
    end if;
end $$;

create or replace function switchyard.tenant_jobs(
    p_tenant uuid, p_state text, p_lane text, p_discovered boolean, p_before uuid, p_limit bigint, p_search text default null
) returns setof jsonb
language plpgsql as $$
begin
    if p_tenant is null then
        raise exception 'a tenant''s jobs need a tenant';
    end if;
    perform set_config('switchyard.tenant', p_tenant::text, true);
    return query select page.* from switchyard.job_page(p_tenant, p_state, p_lane, p_discovered, p_before, p_limit, p_search) page;
end $$;

create or replace function switchyard.all_jobs(
    p_state text, p_lane text, p_discovered boolean, p_before uuid, p_limit bigint, p_search text default null, p_tenant uuid default null
) returns setof jsonb
language sql stable security definer as $$
    select page.* from switchyard.job_page(p_tenant, p_state, p_lane, p_discovered, p_before, p_limit, p_search) page
$$;

-- A tenant's ledger, newest first, after p_before in that order if it is given.
create or replace function switchyard.ledger_page(p_tenant uuid, p_before bigint, p_limit bigint) returns setof jsonb
language sql stable as $$
    select jsonb_build_object('id', l.id, 'kind', l.kind, 'amount', l.amount, 'reason', l.reason, 'job', l.job_id, 'at', l.at)
    from switchyard.ledger l where l.tenant_id = p_tenant and (p_before is null or l.id < p_before)
    order by l.id desc limit p_limit
$$;

create or replace function switchyard.tenant_ledger(p_tenant uuid, p_before bigint, p_limit bigint) returns setof jsonb
language plpgsql as $$
begin
    perform set_config('switchyard.tenant', p_tenant::text, true);
    return query select page.* from switchyard.ledger_page(p_tenant, p_before, p_limit) page;
end $$;

create or replace function switchyard.tenant_result(p_tenant uuid, p_job uuid) returns jsonb
language plpgsql as $$
begin
    perform set_config('switchyard.tenant', p_tenant::text, true);
    return coalesce(
        (select case when o.job_id is null then jsonb_build_object('outcome', 'not_finished', 'job', switchyard.job_document(j))
                else jsonb_build_object('outcome', 'finished', 'job', switchyard.job_document(j), 'result', o.output) end
         from switchyard.jobs j left join switchyard.outputs o on o.job_id = j.id
         where j.id = p_job and j.tenant_id = p_tenant and j.parent_id is null),
        '{"outcome": "not_found"}');
end $$;

-- The newest completed analysis of a profile, with its result.
create or replace function switchyard.tenant_latest_result(p_tenant uuid, p_username text) returns jsonb
language plpgsql as $$
begin
    perform set_config('switchyard.tenant', p_tenant::text, true);
    return (select jsonb_build_array(switchyard.job_document(j), o.output)
            from switchyard.jobs j join switchyard.outputs o on o.job_id = j.id
            where j.tenant_id = p_tenant and j.username = p_username and j.parent_id is null and j.finished_at is not null
              and j.state = 'completed'
            order by j.finished_at desc
            limit 1);
end $$;

-- Events of an analysis after a number, oldest first. The first event is not stored: it follows
-- from the row of the job. Once retention has removed the others, it is omitted as well.
create or replace function switchyard.events_of(j switchyard.jobs, p_after bigint) returns setof jsonb
language sql stable as $$
    select jsonb_build_object('seq', e.seq, 'job', e.job_id, 'state', e.state, 'progress', e.progress, 'stage', e.stage, 'at', e.at)
    from (
        select 1::bigint as seq, j.id as job_id, 'queued' as state, 0::smallint as progress, 'queued' as stage, j.created_at as at
        where p_after < 1
          and not exists (select from switchyard.events first where first.job_id = j.id and first.seq = 1)
          and (j.seq = 1 or exists (select from switchyard.events last where last.job_id = j.id and last.seq = j.seq))
        union all
        select e.seq, e.job_id, e.state, e.progress, e.stage, e.at from switchyard.events e where e.job_id = j.id and e.seq > p_after
    ) e
    order by e.seq
$$;

create or replace function switchyard.tenant_events_after(p_tenant uuid, p_job uuid, p_after bigint) returns setof jsonb
language plpgsql as $$
declare
    j switchyard.jobs;
begin
    perform set_config('switchyard.tenant', p_tenant::text, true);
    select * into j from switchyard.jobs where id = p_job and tenant_id = p_tenant and parent_id is null;
    if found then
        return query select seen.* from switchyard.events_of(j, p_after) seen;
    end if;
end $$;

create or replace function switchyard.any_events_after(p_job uuid, p_after bigint) returns setof jsonb
language sql stable security definer as $$
    select seen.* from switchyard.jobs j cross join lateral switchyard.events_of(j, p_after) seen where j.id = p_job and j.parent_id is null
$$;

-- What a tenant uses of its limits.
create or replace function switchyard.tenant_usage(p_tenant uuid) returns jsonb
language plpgsql as $$
begin
    perform set_config('switchyard.tenant', p_tenant::text, true);
    return (select jsonb_build_object('tier', tier, 'credits', credits, 'running', running,
                'today', case when day = (now() at time zone 'utc')::date then today else 0 end)
            from switchyard.tenants where id = p_tenant);
end $$;

-- The first answer under an idempotency key of the last 24 hours; null if the key is new.
create or replace function switchyard.tenant_answer(p_tenant uuid, p_key text, p_hash bytea) returns jsonb
language plpgsql as $$
begin
    perform set_config('switchyard.tenant', p_tenant::text, true);
    return (select case when request_hash = p_hash then switchyard.first_answer(answer) || '{"outcome": "replayed"}'
                else '{"outcome": "idempotency_conflict"}' end
            from switchyard.idempotency
            where tenant_id = p_tenant and key = p_key and created_at > now() - interval '24 hours');
end $$;

-- A tenant's API keys, oldest first; null for an unknown tenant. The keys themselves are not
-- stored.
create or replace function switchyard.keys_of(p_tenant uuid) returns jsonb
language sql stable security definer as $$
    select (select coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'created_at', k.created_at, 'revoked_at', k.revoked_at) order by k.id), '[]')
            from switchyard.api_keys k where k.tenant_id = t.id)
    from switchyard.tenants t where t.id = p_tenant
$$;

-- Dead analyses with their failed attempts, the latest death first.
create or replace function switchyard.dead_jobs(p_limit bigint) returns setof jsonb
language sql stable security definer as $$
    select jsonb_build_object('job', switchyard.job_document(j), 'failures', j.history,
        'children', (select coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'kind', c.kind, 'failures', c.history) order by c.ordinal), '[]')
                     from switchyard.jobs c where c.root_id = j.id and c.parent_id is not null and c.state = 'dead'))
    from switchyard.jobs j
    where j.parent_id is null and j.state = 'dead' and j.discarded_at is null
    order by j.finished_at desc
    limit p_limit
$$;
