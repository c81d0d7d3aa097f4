-- What is seen from outside: the trace that a job belongs to, which workers there are, what was healed; and finding jobs by name among many.

drop function if exists switchyard.submit(uuid[], bytea[], text[], boolean[], text[], bytea[], jsonb, jsonb, boolean);
drop function if exists switchyard.spawn(uuid, bigint, jsonb, jsonb, text, jsonb);
drop function if exists switchyard.reap(uuid, bigint, jsonb, double precision[], int);
drop function if exists switchyard.tenant_jobs(uuid, text, text, boolean, uuid, bigint);
drop function if exists switchyard.all_jobs(text, text, boolean, uuid, bigint);
drop function if exists switchyard.job_page(uuid, text, text, boolean, uuid, bigint);

-- Its indexes on names are made anew by the next step, which takes a while where there are millions of jobs, and nobody works meanwhile: not this one twice.
drop index switchyard.jobs_ended_of_profile;
alter table switchyard.jobs
    -- The W3C `traceparent` of the request that it comes from; of a part, that of the attempt that made it.
    add column trace text,
    -- Names are ASCII. Sorted by their bytes, one index finds a name and all that begin with it.
    alter column username type text collate "C";
create index jobs_ended_of_profile on switchyard.jobs (username, tenant_id, finished_at desc) where parent_id is null and finished_at is not null;
-- What is rare is found without reading what is not.
create index jobs_without_result on switchyard.jobs (id desc) where parent_id is null and state in ('dead', 'cancelled');

analyze switchyard.jobs (username);

-- Worker processes, as they tell of themselves.
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

-- What was healed without anybody asking for it, newest last.
create table switchyard.recoveries (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    action text not null,
    subject text not null,
    evidence text not null
);
