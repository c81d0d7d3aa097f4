use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use tokio::task::JoinHandle;

use crate::{Namespace, locked};

/// Looks ten times a second at who is connected to a platform's bundled PostgreSQL, until it is dropped.
pub struct Connections {
    most: Arc<Mutex<BTreeMap<String, i64>>>,
    looking: JoinHandle<()>,
}

impl Connections {
    /// Begins to look.
    pub async fn watch(namespace: &Namespace, platform: &str) -> Result<Self> {
        let client = namespace.database(platform).await?;
        let most: Arc<Mutex<BTreeMap<String, i64>>> = Arc::default();
        let looking = tokio::spawn({
            let most = most.clone();
            async move {
                let count = "select usename::text, count(*) from pg_stat_activity where usename like 'analytics%' group by usename";
                while let Ok(rows) = client.query(count, &[]).await {
                    {
                        let mut most = locked(&most);
                        for row in rows {
                            let held = most.entry(row.get(0)).or_default();
                            *held = row.get::<_, i64>(1).max(*held);
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        Ok(Self { most, looking })
    }

    /// The most connections that each role was seen to have, while the database could be looked at throughout.
    pub async fn most(&self) -> Result<BTreeMap<String, i64>> {
        anyhow::ensure!(!self.looking.is_finished(), "the database could not be looked at any more");
        Ok(locked(&self.most).clone())
    }

    /// The database server's log.
    pub async fn log(&self, namespace: &Namespace, platform: &str) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(namespace.cluster.client.clone(), &namespace.name);
        Ok(pods.logs(&format!("{platform}-postgresql-0"), &LogParams::default()).await?)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.looking.abort();
    }
}
