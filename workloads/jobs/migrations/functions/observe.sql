-- What operators read: jobs in full, tenants, workers, and the snapshot behind metrics and health.
-- With the owner's rights, because they span tenants. Only the API calls them, for admins.

-- An analysis in full: its children, events and ledger entries.
create or replace function switchyard.job_report(p_job uuid) returns jsonb
language sql stable security definer as $$
    select jsonb_build_object('job', switchyard.job_document(j), 'worker', j.worker, 'trace', split_part(j.trace, '-', 2), 'failures', j.history,
        'leader', j.leader_id,
        'children', (select coalesce(jsonb_agg(switchyard.job_document(c) || jsonb_build_object('worker', c.worker, 'failures', c.history)
                      order by c.created_at, c.ordinal), '[]')
                  from switchyard.jobs c where c.root_id = coalesce(j.leader_id, j.id) and c.parent_id is not null),
        'timeline', (select coalesce(jsonb_agg(e), '[]') from switchyard.events_of(j, 0) e),
        'ledger', (select coalesce(jsonb_agg(jsonb_build_object('id', l.id, 'kind', l.kind, 'amount', l.amount, 'reason', l.reason, 'job', l.job_id, 'at', l.at)
                       order by l.id), '[]')
                   from switchyard.ledger l where l.job_id = j.id))
    from switchyard.jobs j where j.id = p_job and j.parent_id is null
$$;

create or replace function switchyard.any_result(p_job uuid) returns jsonb
language sql stable security definer as $$
    select coalesce(
        (select case when o.job_id is null then jsonb_build_object('outcome', 'not_finished', 'job', switchyard.job_document(j))
                else jsonb_build_object('outcome', 'finished', 'job', switchyard.job_document(j), 'result', o.output) end
         from switchyard.jobs j left join switchyard.outputs o on o.job_id = j.id
         where j.id = p_job and j.parent_id is null),
        '{"outcome": "not_found"}')
$$;

create or replace function switchyard.cancel_any(p_job uuid) returns jsonb
language plpgsql security definer as $$
begin
    return switchyard.cancel((select tenant_id from switchyard.jobs where id = p_job), p_job);
end $$;

-- Tenants, newest first, after p_before in that order if it is given. p_search is an id, or a
-- prefix of a name.
create or replace function switchyard.tenant_page(p_search text, p_before uuid, p_limit bigint) returns setof jsonb
language sql stable security definer as $$
    select jsonb_build_object('id', t.id, 'name', t.name, 'tier', t.tier, 'credits', t.credits, 'running', t.running,
        'today', case when t.day = (now() at time zone 'utc')::date then t.today else 0 end, 'created_at', t.created_at)
    from switchyard.tenants t
    where (p_before is null or t.id < p_before)
      and (p_search is null or t.id::text = p_search or starts_with(lower(t.name), lower(p_search)))
    order by t.id desc limit p_limit
$$;

create or replace function switchyard.any_ledger(p_tenant uuid, p_before bigint, p_limit bigint) returns setof jsonb
language sql stable security definer as $$
    select page.* from switchyard.ledger_page(p_tenant, p_before, p_limit) page
$$;

-- Records the heartbeat of a worker process. An orderly shutdown removes it.
create or replace function switchyard.worker_seen(
    p_name text, p_pool text, p_kind text, p_concurrency int, p_running int, p_memory bigint, p_memory_limit bigint, p_version text, p_draining boolean,
    p_uptime double precision
) returns void
language sql security definer as $$
    insert into switchyard.workers (name, pool, kind, concurrency, running, memory_bytes, memory_limit_bytes, version, draining, started_at, seen_at)
    values (p_name, p_pool, p_kind, p_concurrency, p_running, p_memory, p_memory_limit, p_version, p_draining,
        clock_timestamp() - make_interval(secs => p_uptime), clock_timestamp())
    on conflict (name) do update
    set pool = excluded.pool, kind = excluded.kind, concurrency = excluded.concurrency, running = excluded.running, memory_bytes = excluded.memory_bytes,
        memory_limit_bytes = excluded.memory_limit_bytes, version = excluded.version, draining = excluded.draining,
        started_at = excluded.started_at, seen_at = excluded.seen_at
$$;

create or replace function switchyard.worker_gone(p_name text) returns void
language sql security definer as $$
    delete from switchyard.workers where name = p_name
$$;

-- Records an automatic recovery.
create or replace function switchyard.recovered(p_action text, p_subject text, p_evidence text) returns void
language sql security definer as $$
    insert into switchyard.recoveries (action, subject, evidence) values (p_action, p_subject, p_evidence)
$$;

-- Workers with a heartbeat in the last hour.
create or replace function switchyard.worker_report() returns setof jsonb
language sql stable security definer as $$
    select to_jsonb(w) from switchyard.workers w where w.seen_at > now() - interval '1 hour' order by w.kind, w.pool, w.name
$$;

-- Sessions of the platform's roles, with their limits. Their number is visible to every owner.
-- `active` is null for an owner without pg_read_all_stats.
create or replace function switchyard.session_report() returns jsonb
language sql stable security definer as $$
    select jsonb_build_object('max', current_setting('max_connections')::int,
        'in_use', (select sum(numbackends) from pg_stat_database),
        'rows', coalesce(jsonb_agg(jsonb_build_object('role', r.rolname, 'limit', case when r.rolconnlimit >= 0 then r.rolconnlimit end,
            'in_use', coalesce(s.n, 0),
            'active', case when pg_has_role(current_user, 'pg_read_all_stats', 'usage') then coalesce(s.active, 0) end) order by r.rolname), '[]'))
    from pg_roles r
    left join (
        select usesysid, count(*) as n, count(*) filter (where state = 'active') as active
        from pg_stat_activity group by usesysid
    ) s on s.usesysid = r.oid
    where r.rolname in ('analytics_api', 'analytics_workers', 'analytics_ai_workers', 'analytics_discovery')
$$;

-- The state of the platform, for metrics and the health score, in one call.
create or replace function switchyard.platform_snapshot() returns jsonb
language sql stable security definer as $$
    select jsonb_build_object(
        'lanes', (select jsonb_agg(lane) from switchyard.lane_report() lane),
        -- Of the analyses that wait in each lane: the number of their tenants, and the largest
        -- share of one.
        'fairness', (select coalesce(jsonb_agg(jsonb_build_object('lane', lane, 'tenants', tenants, 'largest_share', most::double precision / n)), '[]')
            from (select lane, count(*) as tenants, max(n) as most, sum(n) as n
                  from (select lane, tenant_id, count(*) as n from switchyard.jobs
                        where kind = 'general' and state in ('queued', 'retrying') and parent_id is null group by lane, tenant_id) each
                  group by lane) shares),
        'dead', (select count(*) from switchyard.jobs where parent_id is null and state = 'dead' and discarded_at is null),
        'workers', (select coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'seen', n)), '[]')
            from (select kind, count(*) as n from switchyard.workers where seen_at > now() - interval '1 minute' group by kind) seen),
        -- A profile that does not exist is not a failure of the platform.
        'outcomes', (select jsonb_build_object('completed', count(*) filter (where state = 'completed'), 'dead',
                count(*) filter (where state = 'dead' and error ->> 'code' is distinct from 'profile-not-found'))
            from switchyard.jobs where finished_at > now() - interval '5 minutes' and parent_id is null),
        'sessions', switchyard.session_report(),
        'recoveries', (select coalesce(jsonb_agg(to_jsonb(r) order by r.id), '[]')
            from (select * from switchyard.recoveries where at > now() - interval '1 hour' order by id desc limit 20) r))
$$;
