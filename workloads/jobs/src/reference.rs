//! Every metric of the job core, with a series for each value of its labels.
//! `docs/reference/metrics.md` is generated from them.

use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::{
    recovery::Recoveries,
    resilience::{Breaker, Breakers, Policy},
    runner::Metrics,
    service::{connections::Reading, cpu, memory::MemoryMonitor},
};

/// Registers the metrics of every process. `breakers` are the names of its circuit breakers, in
/// addition to those of the stores.
pub fn process(registry: &mut Registry, breakers: &[&'static str]) {
    cpu::register(registry, Some(0.0));
    registry.register_collector(Box::new(Reading::default()));
    let all = Breakers::register(registry);
    for name in ["database", "replica", "cache"].iter().chain(breakers) {
        all.add(Breaker::new(name, Policy { failures: 1, open_for: Duration::ZERO }));
    }
    MemoryMonitor::register(registry, Some(0));
    Recoveries::register(registry);
}

/// Registers the metrics of every worker.
pub fn worker(registry: &mut Registry) {
    Metrics::register(registry).sample();
}
