//! Metrics of circuit breakers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::breaker::Breaker;

/// The breakers of a process, read at each scrape. Clones share the list.
#[derive(Debug, Clone)]
pub struct Breakers(Arc<Mutex<Vec<Breaker>>>);

impl Breakers {
    /// Registers an empty list; once for each registry.
    pub fn register(registry: &mut Registry) -> Self {
        let breakers = Self(Arc::default());
        registry.register_collector(Box::new(breakers.clone()));
        breakers
    }

    /// Adds a breaker. Breakers of the same name form one series: the worst state, the sum of
    /// openings.
    pub fn add(&self, breaker: Breaker) {
        self.0.lock().push(breaker);
    }
}

impl Collector for Breakers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut shown: BTreeMap<&'static str, (i64, u64)> = BTreeMap::new();
        for breaker in self.0.lock().iter() {
            let (state, openings) = shown.entry(breaker.name()).or_default();
            *state = breaker.state().as_gauge().max(*state);
            *openings += breaker.openings();
        }
        let help = "State of a circuit breaker: 0 closed, 1 half-open, 2 open";
        let mut states =
            encoder.encode_descriptor("switchyard_circuit_breaker_state", help, None, MetricType::Gauge)?;
        for (name, (state, _)) in &shown {
            ConstGauge::new(*state).encode(states.encode_family(&[("breaker", *name)])?)?;
        }
        let help = "How often a circuit breaker has opened";
        let mut openings =
            encoder.encode_descriptor("switchyard_circuit_breaker_openings", help, None, MetricType::Counter)?;
        for (name, (_, opened)) in &shown {
            ConstCounter::new(*opened).encode(openings.encode_family(&[("breaker", *name)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::resilience::breaker::Policy;

    #[tokio::test]
    async fn breakers_are_exported_by_name() {
        let mut registry = Registry::default();
        let breakers = Breakers::register(&mut registry);
        let one = || Policy { failures: 1, open_for: Duration::from_mins(1) };
        let (first, second) = (Breaker::new("first", one()), Breaker::new("second", one()));
        breakers.add(first.clone());
        breakers.add(second.clone());
        breakers.add(Breaker::new("second", one()));
        first.record_failure();
        second.record_failure();
        let mut shown = String::new();
        encode(&mut shown, &registry).expect("encodes");
        for line in [
            r#"switchyard_circuit_breaker_state{breaker="first"} 2"#,
            r#"switchyard_circuit_breaker_state{breaker="second"} 2"#,
            r#"switchyard_circuit_breaker_openings_total{breaker="first"} 1"#,
            r#"switchyard_circuit_breaker_openings_total{breaker="second"} 1"#,
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
        }
    }
}
