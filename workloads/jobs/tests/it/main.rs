//! Tests of the job core with a real PostgreSQL, RabbitMQ and Redis.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a panic fails the test")]

mod admission;
mod breaker;
mod broker;
mod cache;
mod children;
mod connections;
mod diagnostics;
mod events;
mod fixture;
mod interleavings;
mod isolation;
mod lifecycle;
mod maintenance;
mod model;
mod operations;
mod pooler;
mod replica;
mod runner;
mod setup;
mod tls;
