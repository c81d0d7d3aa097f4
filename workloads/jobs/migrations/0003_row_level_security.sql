-- Keeps tenants apart in PostgreSQL itself: whoever is not the tables' owner sees the rows of one tenant, the one named by the setting
-- `switchyard.tenant`, and none at all while it is unset. A query that forgets its WHERE leaks nothing.
--
-- The owner is exempt, and with it the functions that run with the owner's rights: they check the tenant themselves. Policies are for everyone else,
-- whether such a role exists yet or not; what a role may do with a table at all is for grants to say.

create function switchyard.current_tenant() returns uuid
language sql stable parallel safe as $$
    select nullif(pg_catalog.current_setting('switchyard.tenant', true), '')::uuid
$$;

alter table switchyard.tenants enable row level security;
alter table switchyard.api_keys enable row level security;
alter table switchyard.jobs enable row level security;
alter table switchyard.ledger enable row level security;
alter table switchyard.outputs enable row level security;
alter table switchyard.events enable row level security;
alter table switchyard.idempotency enable row level security;

create policy of_tenant on switchyard.tenants using (id = switchyard.current_tenant());
create policy of_tenant on switchyard.api_keys using (tenant_id = switchyard.current_tenant());
create policy of_tenant on switchyard.jobs using (tenant_id = switchyard.current_tenant());
create policy of_tenant on switchyard.ledger using (tenant_id = switchyard.current_tenant());
create policy of_tenant on switchyard.idempotency using (tenant_id = switchyard.current_tenant());
create policy of_tenant on switchyard.outputs using (
    exists (select from switchyard.jobs j where j.id = outputs.job_id and j.tenant_id = switchyard.current_tenant()));
create policy of_tenant on switchyard.events using (
    exists (select from switchyard.jobs j where j.id = events.job_id and j.tenant_id = switchyard.current_tenant()));
