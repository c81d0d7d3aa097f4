-- The tenants by number, so that a script can pick one at random.
create table bench_tenants (n int primary key, tenant_id uuid not null, key_hash bytea not null);
