-- Diagnostics: traces of jobs, worker processes, recoveries, and a search for jobs by name.

drop function if exists switchyard.submit(uuid[], bytea[], text[], boolean[], text[], bytea[], jsonb, jsonb, boolean);
drop function if exists switchyard.spawn(uuid, bigint, jsonb, jsonb, text, jsonb);
drop function if exists switchyard.reap(uuid, bigint, jsonb, double precision[], int);
drop function if exists switchyard.tenant_jobs(uuid, text, text, boolean, uuid, bigint);
drop function if exists switchyard.all_jobs(text, text, boolean, uuid, bigint);
drop function if exists switchyard.job_page(uuid, text, text, boolean, uuid, bigint);

-- The next statement rebuilds all indexes on names, which takes long with millions of jobs and
-- blocks all work. Dropping this one first avoids rebuilding it twice.
drop index switchyard.jobs_ended_of_profile;
alter table switchyard.jobs
    -- The W3C `traceparent` of the request that submitted it; for a child, of the attempt that
    -- spawned it.
    add column trace text,
    -- Names are ASCII. In byte order one index serves both equality and prefixes.
    alter column username type text collate "C";
create index jobs_ended_of_profile on switchyard.jobs (username, tenant_id, finished_at desc) where parent_id is null and finished_at is not null;
-- Rare jobs are found without scanning the others.
create index jobs_without_result on switchyard.jobs (id desc) where parent_id is null and state in ('dead', 'cancelled');

analyze switchyard.jobs (username);

-- Worker processes, as of their last heartbeat.
create table switchyard.workers (
    name text primary key,
    pool text not null,
    kind text not null,
    concurrency int not null,
    running int not null,
    memory_bytes bigint not null,
    memory_limit_bytes bigint,
    version text not null,
    draining boolean not null,
    started_at timestamptz not null,
    seen_at timestamptz not null
) with (fillfactor = 50);

-- Automatic recoveries.
create table switchyard.recoveries (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    action text not null,
    subject text not null,
    evidence text not null
);
