//! Integration tests of the ai worker.
//!
//! Tests in `model` and `process` need the model folder that `make models` builds. Those in
//! `process` run the program itself against PostgreSQL, RabbitMQ and Redis on loopback.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a panic fails the test")]

mod fallback;
mod model;
mod process;
mod support;
