//! The systems under test: how to prepare, start and measure each of them.

pub mod celery;
pub mod drained;
pub mod fastapi;
pub mod perf_test;
pub mod pgbench;
pub mod river;
pub mod switchyard;
