//! Circuit breakers as `/metrics` shows them.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use super::breaker::Breaker;

/// Shows breakers as they are when they are asked for: for `Registry::register_collector`, once in a process, with all of its breakers.
#[derive(Debug)]
pub struct Breakers(pub Vec<Breaker>);

impl Collector for Breakers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut states = encoder.encode_descriptor(
            "switchyard_circuit_breaker_state",
            "What a circuit breaker does with calls: 0 closed, 1 half-open, 2 open",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for breaker in &self.0 {
            let state = ConstGauge::new(breaker.state().as_gauge());
            state.encode(states.encode_family(&[("breaker", breaker.name())])?)?;
        }
        let mut openings = encoder.encode_descriptor(
            "switchyard_circuit_breaker_openings",
            "How often a circuit breaker has opened",
            None,
            prometheus_client::metrics::MetricType::Counter,
        )?;
        for breaker in &self.0 {
            let opened = ConstCounter::new(breaker.openings());
            opened.encode(openings.encode_family(&[("breaker", breaker.name())])?)?;
        }
        Ok(())
    }
}
