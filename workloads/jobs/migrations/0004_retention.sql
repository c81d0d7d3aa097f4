-- Retention finds old events without scanning the table.
create index events_age on switchyard.events (at);
