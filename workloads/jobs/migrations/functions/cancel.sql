-- Cancels an analysis with its descendants. The price is refunded if no worker has claimed the
-- analysis, or if it followed another one. One of its own followers is promoted.
create or replace function switchyard.cancel(p_tenant uuid, p_job uuid) returns jsonb
language plpgsql security definer as $$
declare
    j switchyard.jobs;
    v_untouched boolean;
    v_refunded bigint := 0;
    v_balance bigint;
    v_effects jsonb;
begin
    select * into j from switchyard.jobs where id = p_job and tenant_id = p_tenant and parent_id is null for update;
    if not found then
        return '{"outcome": "not_found"}';
    end if;
    if j.finished_at is not null then
        return jsonb_build_object('outcome', 'already_ended', 'job', switchyard.job_document(j));
    end if;
    v_untouched := j.started_at is null or j.leader_id is not null;
    update switchyard.jobs
    set state = 'cancelled', finished_at = clock_timestamp(), run_token = null, lease_until = null, run_at = null,
        open_children = 0, stage = 'cancelled', seq = seq + 1
    where id = j.id returning * into j;
    perform switchyard.cancel_below(j.id);
    v_effects := switchyard.merge_effects(switchyard.effects(switchyard.next_claimable(j.lane), switchyard.record_events(j)), switchyard.promote(j.id));
    perform switchyard.decrement_running(j);
    if v_untouched then
        v_refunded := switchyard.refund(j, 'cancelled before it ran');
    end if;
    select credits into v_balance from switchyard.tenants where id = j.tenant_id;
    return jsonb_build_object('outcome', 'cancelled', 'job', switchyard.job_document(j), 'refunded', v_refunded, 'balance', v_balance,
        'effects', v_effects);
end $$;
