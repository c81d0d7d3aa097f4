-- The handoff's bare writes in one statement: charge the tenant, insert the job and the ledger
-- entry. It checks table constraints only: no lane, no idempotency, no turn. Ids are time-ordered
-- (UUIDv7), as Switchyard's are.
\set n random(0, 999)
with paid as (
    update switchyard.tenants t set credits = credits - 5, running = running + 1, today = today + 1
    from public.bench_tenants where bench_tenants.n = :n and t.id = bench_tenants.tenant_id
    returning t.id, (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || substr(md5(random()::text), 1, 20))::uuid as job
), job as (
    insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, price, stage, seq, turn)
    select paid.job, paid.id, paid.job, 'api', 'general', 'critical', 'queued', 'profile-' || :n, '{"username": "profile"}', 5, 'queued', 1, now() from paid
)
insert into switchyard.ledger (tenant_id, job_id, round, kind, amount, reason) select id, job, 0, 'charge', -5, 'analysis' from paid;
