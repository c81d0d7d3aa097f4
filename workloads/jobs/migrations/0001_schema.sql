-- Tables of the job core. Names of states, kinds and lanes are text with a CHECK: enum types would need their own round trip from clients.

create table switchyard.tenants (
    id uuid primary key,
    name text not null,
    tier text not null check (tier in ('free', 'standard', 'premium', 'enterprise')),
    -- Equals the sum of the tenant's ledger.
    credits bigint not null check (credits >= 0),
    -- Unfinished analyses that the tenant asked for.
    running int not null default 0 check (running >= 0),
    -- The UTC day that the two counts below belong to.
    day date not null default (now() at time zone 'utc')::date,
    today int not null default 0,
    discovered_today int not null default 0,
    created_at timestamptz not null default now()
) with (fillfactor = 50); -- the row changes with every analysis; room on the page keeps that off the indexes

create table switchyard.api_keys (
    id uuid primary key,
    tenant_id uuid not null references switchyard.tenants,
    -- SHA-256 of the key. The key itself has 256 random bits, so a slow hash would add nothing.
    hash bytea not null unique check (length(hash) = 32),
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

-- Run tokens; never repeats, not even after a rollback.
create sequence switchyard.run_tokens as bigint cache 1;

create table switchyard.jobs (
    id uuid primary key,
    tenant_id uuid not null,
    -- The analysis that the job belongs to; its own id for an analysis itself.
    root_id uuid not null,
    parent_id uuid,
    -- Place among the parent's children.
    ordinal int not null default 0,
    -- Whether the job's death is its parent's death.
    required boolean not null default true,
    origin text not null check (origin in ('api', 'discovery', 'child')),
    kind text not null check (kind in ('general', 'cdn', 'discovery', 'ai')),
    lane text not null check (lane in ('critical', 'high', 'normal', 'low')),
    state text not null check (state in ('queued', 'running', 'waiting', 'retrying', 'completed', 'dead', 'cancelled')),
    username text not null,
    input jsonb not null,
    -- What the first half of the job kept for the second; null until it has spawned.
    kept jsonb,
    children int not null default 0,
    open_children int not null default 0 check (open_children >= 0),
    -- Credits taken for it.
    price bigint not null default 0,
    -- Times that it was replayed; each round has a charge and perhaps a refund of its own.
    round int not null default 0,
    -- The attempt that runs, or ran last.
    attempt int not null default 0,
    -- Failed attempts of this round.
    failures int not null default 0,
    -- All failed attempts, oldest first.
    history jsonb not null default '[]',
    error jsonb,
    progress smallint not null default 0 check (progress between 0 and 100),
    stage text not null default '',
    -- Number of the last event.
    seq bigint not null default 0,
    run_token bigint,
    worker text,
    lease_until timestamptz,
    -- The earliest moment of the next claim.
    run_at timestamptz,
    -- When the relay publishes a pointer to it; null while it cannot be claimed.
    publish_at timestamptz,
    publishes int not null default 0,
    discarded_at timestamptz,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    check ((parent_id is null) = (origin <> 'child')),
    check ((state = 'running') = (run_token is not null)),
    check ((state = 'running') = (lease_until is not null)),
    check ((state in ('completed', 'dead', 'cancelled')) = (finished_at is not null))
) with (fillfactor = 70);

create index jobs_of_tenant on switchyard.jobs (tenant_id, id desc) where parent_id is null;
create index jobs_of_profile on switchyard.jobs (tenant_id, username, id desc) where parent_id is null;
create index jobs_of_root on switchyard.jobs (root_id) where parent_id is not null;
create index jobs_to_publish on switchyard.jobs (publish_at) where publish_at is not null;
create index jobs_leased on switchyard.jobs (lease_until) where lease_until is not null;
create index jobs_queued on switchyard.jobs (lane) where parent_id is null and state = 'queued';
create index jobs_open on switchyard.jobs (kind, lane, state) where finished_at is null;
create index jobs_dead on switchyard.jobs (finished_at desc) where parent_id is null and state = 'dead' and discarded_at is null;
create index jobs_made on switchyard.jobs (created_at);
create index jobs_ended on switchyard.jobs (finished_at) where finished_at is not null;

create table switchyard.ledger (
    id bigint generated always as identity primary key,
    tenant_id uuid not null references switchyard.tenants,
    job_id uuid,
    round int,
    kind text not null check (kind in ('grant', 'charge', 'refund')),
    -- What it adds to the balance; a charge is negative.
    amount bigint not null,
    reason text not null default '',
    at timestamptz not null default now(),
    check ((kind = 'grant') = (job_id is null)),
    check ((job_id is null) = (round is null)),
    -- No charge and no refund can happen twice, whoever tries.
    unique (job_id, round, kind)
);
create index ledger_of_tenant on switchyard.ledger (tenant_id) include (amount);

create table switchyard.outputs (
    job_id uuid primary key,
    output jsonb not null,
    created_at timestamptz not null default now()
);

create table switchyard.events (
    job_id uuid not null,
    seq bigint not null,
    state text not null,
    progress smallint not null,
    stage text not null,
    at timestamptz not null,
    primary key (job_id, seq)
);

create table switchyard.idempotency (
    tenant_id uuid not null,
    key text not null,
    request_hash bytea not null,
    job_id uuid not null,
    -- The first answer: {job, charged, balance}.
    answer jsonb not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, key)
);
create index idempotency_age on switchyard.idempotency (created_at);

-- Only queues that somebody paused are here.
create table switchyard.paused_lanes (
    kind text not null,
    lane text not null,
    since timestamptz not null default now(),
    primary key (kind, lane)
);
