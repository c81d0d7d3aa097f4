//! Reads from the API server what the watch cache does not hold: pods, and the values of Secrets.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client, api::ListParams};
use tokio::time::Instant;

use crate::{
    kubernetes::{
        api::get,
        cache::{
            entry::CachedObject,
            store::{self, WatchCache},
        },
        error::Error,
        ttl_cache::TtlCache,
    },
    spec::{names, secrets::Values},
};

/// How long a list of pods is served from the cache.
const PODS_TTL: Duration = Duration::from_secs(2);

/// Reads through the watch cache.
#[derive(Clone)]
pub struct ClusterReader {
    pub client: Client,
    pub cache: WatchCache,
    /// By namespace and platform.
    pods: TtlCache<(String, String), Option<Arc<Vec<Pod>>>>,
}

impl ClusterReader {
    /// Reads from `cache`, and through `client` what it does not hold.
    pub fn new(client: Client, cache: WatchCache) -> Self {
        Self { client, cache, pods: TtlCache::new(PODS_TTL) }
    }

    /// The pods of a platform and of its pools. The list is not older than [`PODS_TTL`] nor than
    /// `since`: all pools of a platform ask at about the same time.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn pods(&self, namespace: &str, platform: &str, since: Instant) -> Result<Arc<Vec<Pod>>, Error> {
        let mut failure = None;
        let ask = async {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let ours = ListParams::default().labels(&format!("{}={platform}", names::PLATFORM_LABEL));
            let list = api.list(&ours).await.map_err(|error| failure = Some(error)).ok()?;
            Some(Arc::new(list.items))
        };
        let pods = self.pods.get((namespace.to_owned(), platform.to_owned()), Some(since), ask).await;
        pods.ok_or_else(|| match failure {
            Some(error) => Error::of("cannot list pods", error),
            None => Error::Unavailable { action: "cannot list pods".into(), message: "the last attempt failed".into() },
        })
    }

    /// The values of a Secret, if it exists. They are read again only after a change of the Secret.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Values>, Error> {
        match self.cache.secret(namespace, name) {
            store::Secret::Missing => return Ok(None),
            store::Secret::Known(values) => return Ok(Some(Values::clone(&values))),
            store::Secret::Unknown => {}
        }
        let Some(secret) = get::<Secret>(&self.client, namespace, name).await? else { return Ok(None) };
        let version = CachedObject::of_secret(&secret.metadata).version;
        let values: Values = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
        self.cache.record_secret(namespace, name, version, Arc::new(values.clone()));
        Ok(Some(values))
    }
}
