-- Tables of the job core. States, kinds and lanes are text with a CHECK: a client needs another
-- round trip to learn of an enum type.

create table switchyard.tenants (
    id uuid primary key,
    name text not null,
    tier text not null check (tier in ('free', 'standard', 'premium', 'enterprise')),
    -- Always the sum of the tenant's ledger.
    credits bigint not null check (credits >= 0),
    -- Unfinished analyses that the tenant submitted.
    running int not null default 0 check (running >= 0),
    -- The UTC day of the two counts below.
    day date not null default (now() at time zone 'utc')::date,
    today int not null default 0,
    discovered_today int not null default 0,
    created_at timestamptz not null default now()
) with (fillfactor = 50); -- every analysis updates the row; free space on the page allows HOT updates

create table switchyard.api_keys (
    id uuid primary key,
    tenant_id uuid not null references switchyard.tenants,
    -- SHA-256 of the key. The key has 256 random bits, so a slow hash would add nothing.
    hash bytea not null unique check (length(hash) = 32),
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

-- Fencing tokens. A sequence never repeats a value, not even after a rollback.
create sequence switchyard.run_tokens as bigint cache 1;

create table switchyard.jobs (
    id uuid primary key,
    tenant_id uuid not null,
    -- The analysis that the job belongs to; the job's own id if it is an analysis.
    root_id uuid not null,
    parent_id uuid,
    -- Position among the parent's children.
    ordinal int not null default 0,
    -- Whether the job's death ends its parent as well.
    required boolean not null default true,
    origin text not null check (origin in ('api', 'discovery', 'child')),
    kind text not null check (kind in ('general', 'cdn', 'discovery', 'ai')),
    lane text not null check (lane in ('critical', 'high', 'normal', 'low')),
    state text not null check (state in ('queued', 'running', 'waiting', 'retrying', 'completed', 'dead', 'cancelled')),
    username text not null,
    input jsonb not null,
    -- What the first half of the job keeps for the second; null until it has spawned.
    kept jsonb,
    children int not null default 0,
    open_children int not null default 0 check (open_children >= 0),
    -- Credits charged for it.
    price bigint not null default 0,
    -- Number of replays. Each round has its own charge, and possibly a refund.
    round int not null default 0,
    -- Number of the current or last attempt.
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
    -- When the relay publishes a message for it; null while it is not claimable.
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
create index jobs_created on switchyard.jobs (created_at);
create index jobs_ended on switchyard.jobs (finished_at) where finished_at is not null;

create table switchyard.ledger (
    id bigint generated always as identity primary key,
    tenant_id uuid not null references switchyard.tenants,
    job_id uuid,
    round int,
    kind text not null check (kind in ('grant', 'charge', 'refund')),
    -- Credits that it adds to the balance; a charge is negative.
    amount bigint not null,
    reason text not null default '',
    at timestamptz not null default now(),
    check ((kind = 'grant') = (job_id is null)),
    check ((job_id is null) = (round is null)),
    -- No charge and no refund can happen twice.
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

-- Queues that are paused.
create table switchyard.paused_lanes (
    kind text not null,
    lane text not null,
    since timestamptz not null default now(),
    primary key (kind, lane)
);
