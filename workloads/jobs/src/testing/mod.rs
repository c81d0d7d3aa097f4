//! Private servers for tests: PostgreSQL, RabbitMQ and Redis from the machine's packages, on loopback, one of each for a test binary, gone with it.
//!
//! Nothing here is for production. What is missing on the machine is said by a panic that names the package.

mod postgres;
mod rabbitmq;
mod redis;
mod server;

pub use postgres::{Postgres, TestDatabase, postgres};
pub use rabbitmq::{Rabbit, rabbitmq};
pub use redis::{Redis, redis};
