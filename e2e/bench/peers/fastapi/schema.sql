-- The tables of the FastAPI and Celery peer: the rows of a handoff, without the columns that its
-- checks do not need.

create table tenants (
    id uuid primary key,
    tier text not null,
    credits bigint not null check (credits >= 0),
    running int not null default 0,
    day date not null default (now() at time zone 'utc')::date,
    today int not null default 0
) with (fillfactor = 50);

create table api_keys (
    hash bytea primary key,
    tenant_id uuid not null references tenants,
    revoked_at timestamptz
);

create table jobs (
    id uuid primary key,
    tenant_id uuid not null,
    username text not null,
    input jsonb not null,
    lane text not null,
    state text not null,
    price bigint not null,
    created_at timestamptz not null default now()
) with (fillfactor = 70);
create index jobs_of_tenant on jobs (tenant_id, id desc);

create table ledger (
    id bigint generated always as identity primary key,
    tenant_id uuid not null,
    job_id uuid not null,
    kind text not null,
    amount bigint not null,
    at timestamptz not null default now(),
    unique (job_id, kind)
);

create table idempotency (
    tenant_id uuid not null,
    key text not null,
    request_hash bytea not null,
    job_id uuid not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, key)
);
