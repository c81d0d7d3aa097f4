-- Makes a job's children and lets it wait for them. p_children is [{id, kind, input, required}].
create or replace function switchyard.spawn(p_job uuid, p_token bigint, p_kept jsonb, p_children jsonb, p_stage text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_now timestamptz := clock_timestamp();
    j switchyard.jobs := switchyard.locked_by(p_job, p_token);
    v_count int := jsonb_array_length(p_children);
    v_ready jsonb;
    v_events jsonb := '[]';
begin
    if j.id is null then
        return null;
    end if;
    if j.kept is not null then
        raise exception 'job % has spawned before: a join may not spawn again', p_job;
    end if;
    with made as (
        insert into switchyard.jobs (id, tenant_id, root_id, parent_id, ordinal, required, origin, kind, lane, state, username, input,
            publish_at, created_at)
        select (c ->> 'id')::uuid, j.tenant_id, j.root_id, j.id, n::int, (c ->> 'required')::boolean, 'child', c ->> 'kind', j.lane, 'queued',
            j.username, c -> 'input', v_now + interval '5 seconds', v_now
        from jsonb_array_elements(p_children) with ordinality as spawned (c, n)
        returning *
    )
    select coalesce(jsonb_agg(jsonb_build_object('job', id, 'kind', kind, 'lane', lane) order by ordinal), '[]') into v_ready from made;
    update switchyard.jobs
    set state = 'waiting', kept = p_kept, children = v_count, open_children = v_count, run_token = null, lease_until = null, worker = null,
        publish_at = case when v_count = 0 then v_now + interval '5 seconds' end,
        stage = case when parent_id is null then p_stage else stage end
    where id = j.id returning * into j;
    if v_count = 0 then
        v_ready := jsonb_build_array(switchyard.pointer(j));
    end if;
    if j.parent_id is null then
        v_events := jsonb_build_array(switchyard.record_event(j.id));
    end if;
    return jsonb_build_object('ready', v_ready, 'events', v_events);
end $$;
