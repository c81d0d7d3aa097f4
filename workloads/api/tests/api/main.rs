//! The API as its callers see it: over a socket, with a real PostgreSQL, RabbitMQ and Redis behind it.

mod admin;
mod conform;
mod document;
mod insight;
mod jobs;
mod outage;
mod process;
mod setup;
mod submit;
mod traces;
mod watch;
mod world;
