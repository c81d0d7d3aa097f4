-- The tenants by number, for scripts that draw one.
create table drawn (n int primary key, tenant_id uuid not null, key_hash bytea not null);
