-- Claims in turn order instead of by job id, shared pipelines, and fewer indexes to update.

drop function if exists switchyard.submit(uuid, bytea, text, jsonb, text, bytea, jsonb, jsonb);
drop function if exists switchyard.lane_has_room(text, int);
drop function if exists switchyard.claim(uuid, text, text, double precision);
drop function if exists switchyard.spawn(uuid, bigint, jsonb, jsonb, text);
drop function if exists switchyard.replay(uuid);
drop function if exists switchyard.due(bigint, double precision);
drop function if exists switchyard.mark_published(uuid[], double precision);
drop function if exists switchyard.mark_unpublished(uuid[]);
drop function if exists switchyard.pointer(switchyard.jobs);
drop function if exists switchyard.record_event(uuid);

alter table switchyard.jobs
    -- Their indexes are dropped with them. A broker message names a queue, not a job, so messages
    -- are not tracked.
    drop column publish_at,
    drop column publishes,
    -- Jobs of a queue are claimed in this order: creation time + lane timeout x the unfinished jobs
    -- that its tenant (for a child: its analysis) had there. So tenants take turns, as in
    -- start-time fair queueing (Goyal, Vin and Cheng, 1996).
    add column turn timestamptz,
    -- The leader: the analysis whose pipeline this one shares. A follower is queued until its
    -- leader starts, then it waits. It is never claimed.
    add column leader_id uuid,
    -- The call that claimed it.
    add column call uuid;
update switchyard.jobs set turn = created_at;
alter table switchyard.jobs
    alter column turn set not null,
    add constraint jobs_leader_check
        check (leader_id is null or (parent_id is null and state in ('queued', 'waiting', 'completed', 'dead', 'cancelled')));

drop index switchyard.jobs_of_profile;
drop index switchyard.jobs_leased;
drop index switchyard.jobs_queued;
drop index switchyard.jobs_open;
drop index switchyard.jobs_created;

create index jobs_claimable on switchyard.jobs (kind, lane, turn) where state in ('queued', 'retrying');
create index jobs_joinable on switchyard.jobs (kind, lane, turn) where state = 'waiting' and open_children = 0 and leader_id is null;
create index jobs_busy on switchyard.jobs (lane, kind) where state in ('running', 'waiting');
create index jobs_in_flight on switchyard.jobs (username) where parent_id is null and leader_id is null and finished_at is null;
create index jobs_followers on switchyard.jobs (leader_id) where leader_id is not null and finished_at is null;
create index jobs_ended_of_profile on switchyard.jobs (tenant_id, username, finished_at desc) where parent_id is null and finished_at is not null;

-- Waiting jobs are a small part of a table that grows with history. The default scale factor of 0.2
-- would let too many dead rows pile up in their indexes.
alter table switchyard.jobs set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
alter table switchyard.tenants set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Every writer of a ledger entry holds the lock of the tenant's row, so a foreign key would only
-- cost time.
alter table switchyard.ledger
    drop constraint ledger_tenant_id_fkey,
    drop constraint ledger_pkey;
drop index switchyard.ledger_of_tenant;
alter table switchyard.ledger add primary key (tenant_id, id) include (amount);

-- First answers are stored in short form.
update switchyard.idempotency set answer = jsonb_build_object('job', answer #> '{job,id}', 'tenant', answer #> '{job,tenant}',
    'username', answer #> '{job,username}', 'lane', answer #> '{job,lane}', 'at', answer #> '{job,created_at}', 'charged', answer -> 'charged',
    'balance', answer -> 'balance', 'coalesced', false);
