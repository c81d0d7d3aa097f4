-- Set on a correction: the analyses that completed for now, whose outputs it will replace. Null for
-- any other job.
alter table switchyard.jobs
    add column corrects uuid[],
    add check (corrects is null or parent_id is not null);
