-- Hands out jobs whose pointer is to be published (again), each to one caller. The next time is p_again later, doubled with every time, within 15 min.
-- Those of paused queues are put off and not handed out.
create or replace function switchyard.due(p_limit bigint, p_again double precision) returns setof jsonb
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with due as (
        select id from switchyard.jobs where publish_at <= clock_timestamp() order by publish_at limit p_limit for update skip locked
    ), taken as (
        update switchyard.jobs j
        set publishes = publishes + 1,
            publish_at = clock_timestamp() + make_interval(secs => least(900, p_again * power(2, least(publishes, 10))))
        from due where j.id = due.id
        returning j.id, j.kind, j.lane
    )
    select jsonb_build_object('job', t.id, 'kind', t.kind, 'lane', t.lane) from taken t
    where not exists (select from switchyard.paused_lanes p where p.kind = t.kind and p.lane = t.lane)
$$;

create or replace function switchyard.mark_published(p_jobs uuid[], p_again double precision) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with out as (
        select id from switchyard.jobs where id = any(p_jobs) and publish_at is not null for update skip locked
    )
    update switchyard.jobs j
    set publishes = publishes + 1,
        publish_at = greatest(publish_at, clock_timestamp() + make_interval(secs => least(900, p_again * power(2, least(publishes, 10)))))
    from out where j.id = out.id
$$;

create or replace function switchyard.mark_unpublished(p_jobs uuid[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with out as (
        select id from switchyard.jobs where id = any(p_jobs) and publish_at is not null for update skip locked
    )
    update switchyard.jobs j
    set publishes = greatest(0, publishes - 1), publish_at = greatest(coalesce(run_at, clock_timestamp()), clock_timestamp() + interval '1 second')
    from out where j.id = out.id
$$;

create or replace function switchyard.expired(p_limit bigint) returns setof jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object('job', id, 'token', run_token) from switchyard.jobs
    where lease_until < clock_timestamp() order by lease_until limit p_limit
$$;

-- Removes what has been kept long enough, p_limit of each at most.
create or replace function switchyard.retain(
    p_events double precision, p_idempotency double precision, p_jobs double precision, p_limit bigint
) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_events bigint;
    v_idempotency bigint;
    v_jobs bigint;
    v_gone uuid[];
begin
    delete from switchyard.events where (job_id, seq) in (
        select e.job_id, e.seq from switchyard.jobs j join switchyard.events e on e.job_id = j.id
        where j.parent_id is null and j.finished_at < now() - make_interval(secs => p_events) limit p_limit);
    get diagnostics v_events = row_count;
    delete from switchyard.idempotency where (tenant_id, key) in (
        select tenant_id, key from switchyard.idempotency where created_at < now() - make_interval(secs => p_idempotency) limit p_limit);
    get diagnostics v_idempotency = row_count;
    select array_agg(id) into v_gone from (
        select id from switchyard.jobs
        where parent_id is null and finished_at < now() - make_interval(secs => p_jobs) order by finished_at limit p_limit
        for update skip locked) old;
    delete from switchyard.events where job_id = any(v_gone);
    delete from switchyard.outputs o using switchyard.jobs j where j.root_id = any(v_gone) and o.job_id = j.id;
    delete from switchyard.jobs where root_id = any(v_gone);
    get diagnostics v_jobs = row_count;
    return jsonb_build_object('events', v_events, 'idempotency', v_idempotency, 'jobs', v_jobs);
end $$;

-- Every queue's state.
create or replace function switchyard.lane_report() returns setof jsonb
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with open as (
        select kind, lane,
            count(*) filter (where publish_at is not null and coalesce(run_at, '-infinity') <= now()) as depth,
            min(coalesce(run_at, created_at)) filter (where publish_at is not null and coalesce(run_at, '-infinity') <= now()) as oldest,
            count(*) filter (where state = 'running') as running,
            count(*) filter (where state = 'retrying' and run_at > now()) as retrying,
            count(*) filter (where state = 'waiting') as waiting
        from switchyard.jobs where finished_at is null group by kind, lane
    ), made as (
        select kind, lane, count(*) as n from switchyard.jobs where created_at > now() - interval '5 minutes' group by kind, lane
    ), ended as (
        select kind, lane, count(*) as n from switchyard.jobs where finished_at > now() - interval '5 minutes' group by kind, lane
    )
    select jsonb_build_object('kind', k.name, 'lane', l.name, 'paused', p.kind is not null,
        'depth', coalesce(o.depth, 0), 'oldest_age_seconds', coalesce(extract(epoch from now() - o.oldest), 0),
        'running', coalesce(o.running, 0), 'retrying', coalesce(o.retrying, 0), 'waiting', coalesce(o.waiting, 0),
        'arrival_rate', coalesce(m.n, 0) / 300.0, 'completion_rate', coalesce(e.n, 0) / 300.0)
    from unnest(array['general', 'cdn', 'discovery', 'ai']) with ordinality as k (name, n)
    cross join unnest(array['critical', 'high', 'normal', 'low']) with ordinality as l (name, n)
    left join open o on o.kind = k.name and o.lane = l.name
    left join made m on m.kind = k.name and m.lane = l.name
    left join ended e on e.kind = k.name and e.lane = l.name
    left join switchyard.paused_lanes p on p.kind = k.name and p.lane = l.name
    order by k.n, l.n
$$;
