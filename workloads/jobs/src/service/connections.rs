//! Metrics of a process' connections to PostgreSQL, RabbitMQ and Redis, read at each scrape.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::{broker::Broker, cache::Cache, store::Store};

/// The connections of one process, as a metrics collector.
pub struct Connections {
    pub store: Store,
    pub broker: Broker,
    pub cache: Cache,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connections")
    }
}

impl Collector for Connections {
    #[expect(clippy::cast_possible_wrap, reason = "numbers of connections")]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let pool = self.store.pool_status();
        let counts = self.cache.counts();
        let gauges = [
            ("switchyard_database_connections_max", "Connections that the process may open", pool.max_size as i64),
            ("switchyard_database_connections_open", "Open connections", pool.size as i64),
            ("switchyard_database_connections_idle", "Open connections that are idle", pool.available as i64),
            ("switchyard_database_pool_waiters", "Callers that wait for a connection", pool.waiting as i64),
            (
                "switchyard_database_writable",
                "0 for 30 seconds after the database refused a write: disk full, or read-only",
                i64::from(self.store.is_writable()),
            ),
            ("switchyard_broker_connected", "Whether the broker is connected", i64::from(self.broker.is_connected())),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("switchyard_cache_hits", "Results found in the cache", counts.hits),
            ("switchyard_cache_misses", "Results not found in the cache", counts.misses),
            ("switchyard_cache_failures", "Cache calls that failed or were not made", counts.failures),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
