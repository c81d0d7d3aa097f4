//! The API as its callers see it: over a socket, with a real PostgreSQL, RabbitMQ and Redis.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a panic fails the test")]

mod admin;
mod diagnostics;
mod document;
mod fixture;
mod jobs;
mod openapi_conformance;
mod outage;
mod process;
mod setup;
mod submit;
mod traces;
mod watch;
