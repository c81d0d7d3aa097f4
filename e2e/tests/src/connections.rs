//! Database connections of a platform over time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use tokio::task::JoinHandle;

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
        anyhow::ensure!(!self.sampler.is_finished(), "could not query pg_stat_activity");
        Ok(lock(&self.peaks).clone())
    }

    /// The database server's log.
    ///
    /// # Errors
    /// The pod of the database does not exist, or its log cannot be read.
    pub async fn server_log(&self, namespace: &Namespace, platform: &str) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(namespace.cluster.client.clone(), &namespace.name);
        Ok(pods.logs(&format!("{platform}-postgresql-0"), &LogParams::default()).await?)
    }
}

impl Drop for ConnectionMonitor {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}
