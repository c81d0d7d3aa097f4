-- Claims in turn instead of by name, pipelines that several requests share, and fewer indexes to write on every change.

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
    -- With these go the indexes on them: a broker message names a queue, not a job, so nobody keeps account of messages.
    drop column publish_at,
    drop column publishes,
    -- Jobs of a queue are claimed in this order: the moment at which the job was made, put off by one timeout of its lane for each job that its
    -- tenant (for a part: its analysis) had there before it. So tenants take turns.
    add column turn timestamptz,
    -- The analysis whose pipeline this one shares, or shared: it is queued until that has begun, then it waits, and nobody claims it.
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
drop index switchyard.jobs_made;

create index jobs_claimable on switchyard.jobs (kind, lane, turn) where state in ('queued', 'retrying');
create index jobs_joinable on switchyard.jobs (kind, lane, turn) where state = 'waiting' and open_children = 0 and leader_id is null;
create index jobs_busy on switchyard.jobs (lane, kind) where state in ('running', 'waiting');
create index jobs_in_flight on switchyard.jobs (username) where parent_id is null and leader_id is null and finished_at is null;
create index jobs_followers on switchyard.jobs (leader_id) where leader_id is not null and finished_at is null;
create index jobs_ended_of_profile on switchyard.jobs (tenant_id, username, finished_at desc) where parent_id is null and finished_at is not null;

-- What waits is a sliver of a table that grows with history: a fifth of it must not die before its indexes are cleaned.
alter table switchyard.jobs set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
alter table switchyard.tenants set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Whoever writes a ledger entry holds the tenant's row, so a check of its own on every entry would add nothing but time.
alter table switchyard.ledger
    drop constraint ledger_tenant_id_fkey,
    drop constraint ledger_pkey;
drop index switchyard.ledger_of_tenant;
alter table switchyard.ledger add primary key (tenant_id, id) include (amount);

-- A first answer is kept in as few words as it takes to say it again.
update switchyard.idempotency set answer = jsonb_build_object('job', answer #> '{job,id}', 'tenant', answer #> '{job,tenant}',
    'username', answer #> '{job,username}', 'lane', answer #> '{job,lane}', 'at', answer #> '{job,created_at}', 'charged', answer -> 'charged',
    'balance', answer -> 'balance', 'coalesced', false);
