-- Creates the children of a job, which then waits for them. p_children is [{id, kind, input,
-- required}]; p_trace is the attempt's. Children of different jobs take turns in their queue.
create or replace function switchyard.spawn(p_job uuid, p_token bigint, p_kept jsonb, p_children jsonb, p_stage text, p_lanes jsonb, p_trace text default null)
returns jsonb
language plpgsql security definer as $$
declare
    v_now timestamptz := clock_timestamp();
    j switchyard.jobs := switchyard.lock_claimed(p_job, p_token);
    v_count int := jsonb_array_length(p_children);
    v_ready jsonb;
begin
    if j.id is null then
        return null;
    end if;
    if j.kept is not null then
        raise exception 'job % has spawned before: a join may not spawn again', p_job;
    end if;
    with created as (
        insert into switchyard.jobs (id, tenant_id, root_id, parent_id, ordinal, required, origin, kind, lane, state, username, input,
            turn, trace, created_at)
        select (c ->> 'id')::uuid, j.tenant_id, j.root_id, j.id, n::int, (c ->> 'required')::boolean, 'child', c ->> 'kind', j.lane, 'queued',
            j.username, c -> 'input', v_now + make_interval(secs => (row_number() over (partition by c ->> 'kind' order by n) - 1)
                * (p_lanes -> j.lane ->> 'timeoutSeconds')::double precision),
            coalesce(p_trace, j.trace), v_now
        from jsonb_array_elements(p_children) with ordinality as spawned (c, n)
        returning *
    )
    select coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'lane', lane) order by ordinal), '[]') into v_ready from created;
    update switchyard.jobs
    set state = 'waiting', kept = p_kept, children = v_count, open_children = v_count, run_token = null, lease_until = null, worker = null,
        stage = case when parent_id is null then p_stage else stage end, seq = seq + case when parent_id is null then 1 else 0 end
    where id = j.id returning * into j;
    if v_count = 0 then
        v_ready := jsonb_build_array(switchyard.queue(j));
    end if;
    return switchyard.effects(v_ready, case when j.parent_id is null then switchyard.record_events(j) else '[]' end);
end $$;
