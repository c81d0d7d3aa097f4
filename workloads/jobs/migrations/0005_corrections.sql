-- The analyses that a part outlives, because its output takes the place of theirs: they completed for now. Null for any other job.
alter table switchyard.jobs
    add column corrects uuid[],
    add check (corrects is null or parent_id is not null);
