-- Settings of the functions, stated once.
--
-- Functions with the owner's rights (`security definer`) are what the workloads call. Each of them
-- gets:
-- - a fixed search_path, so that a caller cannot put its own objects in front of the schema's;
-- - enable_seqscan off: history makes the table of jobs large, and the rows in question are few. A
-- plan that reads the whole table is never right, whatever the statistics say after a burst;
-- - jit off: compiling a batch of submissions takes three times as long as running it;
-- - in PL/pgSQL, one generic plan: planning a batch of 32 submissions takes as long as running it.
-- The functions below them inherit these settings at run time. They have none of their own, because
-- PostgreSQL does not inline a SQL function that has settings.
do $$
declare
    v_function record;
begin
    for v_function in
        select p.oid::regprocedure as signature, l.lanname = 'plpgsql' as is_plpgsql
        from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid = p.prolang
        where p.pronamespace = 'switchyard'::regnamespace and p.prosecdef
    loop
        execute format('alter function %s set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off',
            v_function.signature);
        if v_function.is_plpgsql then
            execute format('alter function %s set plan_cache_mode = force_generic_plan', v_function.signature);
        end if;
    end loop;
end $$;
