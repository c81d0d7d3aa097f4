//! Private servers for tests: PostgreSQL, PgBouncer, RabbitMQ and Redis from the machine's packages, on loopback, one of each for a test binary, gone with it.
//!
//! Nothing here is for production. What is missing on the machine is said by a panic that names the package.

mod certificates;
mod pgbouncer;
mod postgres;
mod proxy;
mod rabbitmq;
mod redis;
mod replica;
mod server;

pub use certificates::Certificates;
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, TestDatabase, postgres};
pub use proxy::Proxy;
pub use rabbitmq::{Rabbit, rabbitmq};
pub use redis::{Redis, redis};
