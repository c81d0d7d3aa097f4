-- Switchyard's admission for one request per call, with all its checks: API key, idempotency,
-- limits, lane, turn, credits, and an analysis of the same profile in flight. The rules are those
-- of the API under test.
\set n random(0, 999)
select outcome from switchyard.submit(
    array[(lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || substr(md5(random()::text), 1, 20))::uuid],
    array(select key_hash from public.bench_tenants where n = :n),
    array['fresh-' || md5(random()::text)], array[false], array[md5(random()::text)], array[sha256('request')],
    '{"enterprise": {"concurrent": 1000000, "daily": null, "price": 5, "lane": "critical"}}',
    '{"critical": {"capacity": 1000000, "maxRunning": 1000000, "timeoutSeconds": 600}}', true);
