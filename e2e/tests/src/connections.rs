//! Database connections of a platform over time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;

use crate::{cluster::Namespace, sync::lock};

/// Samples the connections to a platform's bundled PostgreSQL ten times a second, until it is
/// dropped.
pub struct ConnectionMonitor {
    peaks: Arc<Mutex<BTreeMap<String, i64>>>,
    sampler: JoinHandle<()>,
}

impl ConnectionMonitor {
    /// Starts sampling.
    ///
    /// # Errors
    /// As [`Namespace::connect_database`].
    pub async fn start(namespace: &Namespace, platform: &str) -> Result<Self> {
        let client = namespace.connect_database(platform).await?;
        let peaks: Arc<Mutex<BTreeMap<String, i64>>> = Arc::default();
        let sampler = tokio::spawn({
            let peaks = peaks.clone();
            async move {
                let count = "select usename::text, count(*) from pg_stat_activity where usename like 'analytics%' group by usename";
                while let Ok(rows) = client.query(count, &[]).await {
                    {
                        let mut peaks = lock(&peaks);
                        for row in rows {
                            let peak = peaks.entry(row.get(0)).or_default();
                            *peak = row.get::<_, i64>(1).max(*peak);
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        Ok(Self { peaks, sampler })
    }

    /// The peak number of connections of each role.
    ///
    /// # Errors
    /// A sample failed, so that the peaks may be incomplete.
    pub fn peaks(&self) -> Result<BTreeMap<String, i64>> {
        ensure!(!self.sampler.is_finished(), "could not query pg_stat_activity");
        Ok(lock(&self.peaks).clone())
    }

    /// The connection limit of each role, which PostgreSQL enforces.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn limits(namespace: &Namespace, platform: &str) -> Result<BTreeMap<String, i64>> {
        let client = namespace.connect_database(platform).await?;
        let limits = "select rolname::text, rolconnlimit::bigint from pg_roles where rolname like 'analytics%'";
        Ok(client.query(limits, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The lines of the server's log about connections that PostgreSQL rejected, because a role or
    /// the server had too many.
    ///
    /// # Errors
    /// The log does not show a rejection that this function causes.
    pub async fn rejections(namespace: &Namespace, platform: &str) -> Result<Vec<String>> {
        const PROBE: &str = "e2e_probe";
        let client = namespace.connect_database(platform).await?;
        client.batch_execute(&format!("create role {PROBE} login password 'e2e' connection limit 0")).await?;
        let mut config = namespace.database_config(platform).await?;
        let probe = config.user(PROBE).password("e2e").connect(tokio_postgres::NoTls).await;
        client.batch_execute(&format!("drop role {PROBE}")).await?;
        ensure!(
            probe.err().is_some_and(|error| error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)),
            "PostgreSQL enforces no connection limit"
        );
        let pods: Api<Pod> = Api::namespaced(namespace.cluster.client.clone(), &namespace.name);
        let log = pods.logs(&format!("{platform}-postgresql-0"), &LogParams::default()).await?;
        let rejected = |line: &&str| {
            ["too many connections", "too many clients", "remaining connection slots"]
                .iter()
                .any(|why| line.contains(why))
        };
        let (probes, others): (Vec<&str>, Vec<&str>) =
            log.lines().filter(rejected).partition(|line| line.contains(PROBE));
        ensure!(!probes.is_empty(), "the server's log shows no rejected connection");
        Ok(others.into_iter().map(str::to_owned).collect())
    }
}

impl Drop for ConnectionMonitor {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}
