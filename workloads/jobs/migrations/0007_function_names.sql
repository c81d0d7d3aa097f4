-- Drops all functions but those that policies use. Names and parameters of functions have changed,
-- and `create or replace` renames no parameter. The functions are created again after the
-- migrations, in the same transaction.
do $$
declare
    v_signature regprocedure;
begin
    for v_signature in
        select p.oid::regprocedure from pg_catalog.pg_proc p
        where p.pronamespace = 'switchyard'::regnamespace
          and not exists (
              select from pg_catalog.pg_depend d
              where d.refclassid = 'pg_catalog.pg_proc'::regclass and d.refobjid = p.oid
                and d.classid = 'pg_catalog.pg_policy'::regclass)
    loop
        execute format('drop function %s', v_signature);
    end loop;
end $$;
