//! Private servers for tests: PostgreSQL, PgBouncer, RabbitMQ and Redis.
//!
//! They run the machine's packages on loopback, one of each for a test binary, and end with it. A
//! missing program panics with the name of its package. Not for production.

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
