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
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let pool = self.store.pool_status();
        let counts = self.cache.counts();
        let reading = Reading {
            max: pool.max_size as i64,
            open: pool.size as i64,
            idle: pool.available as i64,
            waiters: pool.waiting as i64,
            writable: self.store.is_writable(),
            broker_connected: self.broker.is_connected(),
            cache: [counts.hits, counts.misses, counts.failures],
        };
        reading.encode(encoder)
    }
}

/// The state of the connections at one scrape.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    max: i64,
    open: i64,
    idle: i64,
    waiters: i64,
    writable: bool,
    broker_connected: bool,
    /// Hits, misses and failures.
    cache: [u64; 3],
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauges = [
            ("switchyard_database_connections_max", "Connections that the process may open", self.max),
            ("switchyard_database_connections_open", "Open connections", self.open),
            ("switchyard_database_connections_idle", "Open connections that are idle", self.idle),
            ("switchyard_database_pool_waiters", "Callers that wait for a connection", self.waiters),
            (
                "switchyard_database_writable",
                "0 for 30 seconds after the database refused a write: disk full, or read-only",
                i64::from(self.writable),
            ),
            ("switchyard_broker_connected", "Whether the broker is connected", i64::from(self.broker_connected)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let [hits, misses, failures] = self.cache;
        let counters = [
            ("switchyard_cache_hits", "Results found in the cache", hits),
            ("switchyard_cache_misses", "Results not found in the cache", misses),
            ("switchyard_cache_failures", "Cache calls that failed or were not made", failures),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
