-- Isolates tenants in PostgreSQL itself. A role that does not own the tables sees the rows of the
-- tenant in the setting `switchyard.tenant`, and none while it is unset. So a query without a WHERE
-- clause leaks nothing.
--
-- The owner is exempt, and so are the functions with the owner's rights: they check the tenant
-- themselves. The policies apply to all other roles. Grants decide what a role may do with a table
-- at all.

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
