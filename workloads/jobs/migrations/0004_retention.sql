-- What is old is found without reading what is not.
create index events_age on switchyard.events (at);
