//! What a process needs to be a well-behaved pod: probes, metrics, resource limits and shutdown.

pub mod cgroup;
pub mod connections;
pub mod cpu;
pub mod memory;
pub mod probes;
pub mod shutdown;
pub mod telemetry;
