-- All columns that the reference models.
select jsonb_build_object(
    'tenants', (select jsonb_agg(jsonb_build_object('id', id, 'credits', credits, 'running', running, 'today', today, 'discovered_today', discovered_today))
        from switchyard.tenants),
    'ledger', (select jsonb_agg(jsonb_build_object('tenant', tenant_id, 'kind', kind, 'amount', amount, 'job', job_id, 'round', round))
        from switchyard.ledger),
    'jobs', (select coalesce(jsonb_agg(jsonb_build_object(
            'id', j.id, 'tenant', j.tenant_id, 'parent', j.parent_id, 'origin', j.origin, 'kind', j.kind, 'lane', j.lane, 'state', j.state,
            'username', j.username, 'price', j.price, 'round', j.round, 'attempt', j.attempt, 'failures', j.failures, 'progress', j.progress,
            'open', case when j.finished_at is null then j.open_children end, 'token', j.run_token,
            'leader', case when j.finished_at is null then j.leader_id end, 'started', j.started_at is not null,
            'discarded', j.discarded_at is not null, 'output', exists (select from switchyard.outputs o where o.job_id = j.id),
            'events', (select coalesce(jsonb_agg(jsonb_build_array(e.seq, e.state, e.progress) order by e.seq), '[]')
                       from switchyard.events e where e.job_id = j.id))
            order by j.id), '[]')
        from switchyard.jobs j))
