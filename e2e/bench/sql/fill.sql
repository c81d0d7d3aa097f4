-- Inserts finished analyses of all tenants, spread over the last thirty days, the oldest first.
insert into switchyard.jobs (
    id, tenant_id, root_id, origin, kind, lane, state, username, input, price, attempt, progress, stage, seq, turn, created_at, started_at, finished_at
)
select made.id, bench_tenants.tenant_id, made.id, 'api', 'general', 'critical', 'completed', 'past-' || made.n % 1000000,
    '{"username": "past", "force_refresh": false}',
    5, 1, 100, 'completed', 4, made.at, made.at, made.at, made.at
from (
    select n, now() - interval '30 days' * (1 - n::float8 / :finished_jobs) as at,
        (lpad(to_hex((extract(epoch from now() - interval '30 days' * (1 - n::float8 / :finished_jobs)) * 1000)::bigint), 12, '0')
            || '7' || lpad(to_hex(n), 19, '0'))::uuid as id
    from generate_series(1, :finished_jobs) n
) made
join public.bench_tenants on bench_tenants.n = made.n % 1000
order by made.n;
