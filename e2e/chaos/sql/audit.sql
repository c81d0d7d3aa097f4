-- The harness' schema in the database under test: limits, submissions, and one row per change of a
-- job. Triggers write it in the transaction of the change.

create schema chaos;

create table chaos.tiers (tier text primary key, concurrent int not null, daily int);
create table chaos.lanes (lane text primary key, max_running int not null);

-- Every submission, with or without a response.
create table chaos.requests (
    id bigint primary key,
    tenant_id uuid not null,
    username text not null,
    key text,
    -- The job in a 202 response.
    job_id uuid
);

-- Messages left in each queue after the run has settled.
create table chaos.queues (queue text primary key, messages bigint not null);

-- The event numbers that watchers received, in order of arrival, and whether the terminal state was
-- among them.
create table chaos.watches (job_id uuid not null, seqs bigint[] not null, ended boolean not null);

create table chaos.transitions (
    n bigint generated always as identity primary key,
    job_id uuid not null,
    root_id uuid not null,
    parent_id uuid,
    tenant_id uuid not null,
    origin text not null,
    lane text not null,
    round int not null,
    -- Null for a new job.
    before text,
    -- Null for a deleted job.
    after text,
    -- The leader before and after the change.
    followed uuid,
    follows uuid,
    run_token bigint
);
create index on chaos.transitions (job_id);

-- Every result that was written.
create table chaos.results (job_id uuid not null, run_token bigint, output jsonb not null);

-- Every value of a tenant's counters.
create table chaos.counters (tenant_id uuid not null, tier text not null, running int not null, credits bigint not null);

-- Parents whose count of open children was wrong at the end of a transaction.
create table chaos.miscounts (job_id uuid not null, counted int not null, found bigint not null);

-- The changes with their commit times. If one transaction saw another, the other committed earlier.
-- If neither saw the other, the checks must accept both orders.
create view chaos.history as
select t.*, t.xmin::text as transaction, pg_xact_commit_timestamp(t.xmin) as at from chaos.transitions t;

create function chaos.ended(state text) returns boolean
language sql immutable as $$
    select state in ('completed', 'dead', 'cancelled')
$$;

-- Whether a state is that of an existing job that has not ended.
create function chaos.open(state text) returns boolean
language sql immutable as $$
    select state is not null and not chaos.ended(state)
$$;

-- Whether an analysis in this state counts towards its lane's maxRunning. Followers do not.
create function chaos.busy(state text, leader uuid) returns boolean
language sql immutable as $$
    select coalesce(state in ('running', 'waiting') and leader is null, false)
$$;

create function chaos.record_transition() returns trigger
language plpgsql security definer as $$
declare
    j switchyard.jobs := case when tg_op = 'DELETE' then old else new end;
begin
    insert into chaos.transitions (job_id, root_id, parent_id, tenant_id, origin, lane, round, before, after, followed, follows, run_token)
    values (j.id, j.root_id, j.parent_id, j.tenant_id, j.origin, j.lane, j.round,
        case when tg_op <> 'INSERT' then old.state end, case when tg_op <> 'DELETE' then new.state end,
        case when tg_op <> 'INSERT' then old.leader_id end, case when tg_op <> 'DELETE' then new.leader_id end,
        case when tg_op = 'UPDATE' then coalesce(new.run_token, old.run_token) else j.run_token end);
    return null;
end $$;

create trigger chaos_appears after insert or delete on switchyard.jobs
    for each row execute function chaos.record_transition();
create trigger chaos_changes after update on switchyard.jobs
    for each row when (
        old.state <> new.state or old.round <> new.round or old.leader_id is distinct from new.leader_id
        or (new.run_token is not null and old.run_token is distinct from new.run_token)
    ) execute function chaos.record_transition();

create function chaos.record_result() returns trigger
language plpgsql security definer as $$
begin
    insert into chaos.results (job_id, run_token, output)
    values (new.job_id, (select run_token from switchyard.jobs where id = new.job_id), new.output);
    return null;
end $$;

create trigger chaos_result after insert or update on switchyard.outputs
    for each row execute function chaos.record_result();

create function chaos.record_counters() returns trigger
language plpgsql security definer as $$
begin
    insert into chaos.counters (tenant_id, tier, running, credits) values (new.id, new.tier, new.running, new.credits);
    return null;
end $$;

create trigger chaos_counters after insert or update of running, credits on switchyard.tenants
    for each row execute function chaos.record_counters();

create function chaos.count_children() returns trigger
language plpgsql security definer as $$
begin
    insert into chaos.miscounts (job_id, counted, found)
    select p.id, p.open_children, children.open
    from switchyard.jobs p
    cross join lateral (
        select count(*) as open from switchyard.jobs c where c.root_id = p.root_id and c.parent_id = p.id and c.finished_at is null
    ) children
    where p.id in (new.id, new.parent_id) and p.state = 'waiting' and p.open_children <> children.open;
    return null;
end $$;

-- Deferred to the end of the transaction, when counts must be correct again.
create constraint trigger chaos_children after insert or update on switchyard.jobs
    deferrable initially deferred
    for each row when (new.parent_id is not null or new.state = 'waiting') execute function chaos.count_children();
