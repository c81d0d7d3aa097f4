//! Builds the job handler of a pool from the mounted configuration.

use std::sync::Arc;

use anyhow::bail;
use prometheus_client::registry::Registry;
use switchyard_contract::{
    Config, Kind, Mount, Workload,
    files::{OBJECT_STORE_ACCESS_KEY, OBJECT_STORE_SECRET_KEY, PROFILE_SOURCE_TOKEN},
};
use switchyard_jobs::{
    cache::Cache,
    handler::Handler,
    resilience::{Breaker, Breakers, Policy},
};

use crate::{
    analysis::{AnalysisHandler, Source},
    apify::{self, Apify},
    discovery::DiscoveryHandler,
    images::{
        ImageHandler,
        address_policy::AddressPolicy,
        fetcher::{self, Fetcher},
        storage::{Credentials, Storage},
    },
    metrics::Metrics,
    profile_fetcher::ProfileFetcher,
    source_guard::SourceGuard,
    throttle::Throttle,
};

/// The handler of the pool that `config` describes. Its metrics go to `registry`, its circuit
/// breaker to `breakers`.
///
/// # Errors
/// The workload is not a pool of this program, a Secret is missing, or an endpoint is invalid.
pub fn for_pool(
    config: &Config,
    mount: &Mount,
    cache: Cache,
    registry: &mut Registry,
    breakers: &Breakers,
) -> anyhow::Result<Arc<dyn Handler>> {
    let Workload::Pool { name, kind, .. } = &config.workload else {
        bail!("the configuration is not that of a worker pool: this program only runs worker pools");
    };
    let metrics = Arc::new(Metrics::default());
    metrics.register(registry);
    Ok(match kind {
        Kind::General => {
            let source = source(config, mount, cache, metrics, breakers)?;
            Arc::new(AnalysisHandler::new(source, config.analysis.clone(), config.retry.attempts()))
        }
        Kind::Cdn => {
            let endpoint = config.profile_source.as_ref().map(|source| source.endpoint.as_str());
            let fetcher = Fetcher::new(AddressPolicy::new(endpoint), fetcher::Limits::default())?;
            Arc::new(ImageHandler::new(fetcher, storage(config, mount)?, metrics))
        }
        Kind::Discovery => Arc::new(DiscoveryHandler::new(config.analysis.clone())),
        Kind::Ai => bail!("pool '{name}' is of kind ai: run switchyard-ai from the image 'ai' instead"),
    })
}

fn source(
    config: &Config,
    mount: &Mount,
    cache: Cache,
    metrics: Arc<Metrics>,
    breakers: &Breakers,
) -> anyhow::Result<Source> {
    let Some(source) = &config.profile_source else { return Ok(Source::NotConfigured) };
    // Without a token the worker starts all the same, and each analysis fails with the reason.
    let Some(token) = mount.optional_secret(PROFILE_SOURCE_TOKEN)? else { return Ok(Source::WithoutToken) };
    let breaker = Breaker::new("profile-source", Policy::EXTERNAL);
    breakers.add(breaker.clone());
    let apify = Apify::new(source, token, apify::Limits::default(), breaker.clone(), metrics.clone())?;
    let guard = SourceGuard { breaker, throttle: Throttle::new(cache.clone(), source.limits, metrics.clone()) };
    Ok(Source::Apify(Arc::new(ProfileFetcher::new(apify, guard, cache, metrics))))
}

fn storage(config: &Config, mount: &Mount) -> anyhow::Result<Option<Storage>> {
    let Some(store) = &config.object_store else { return Ok(None) };
    let credentials =
        Credentials { access: mount.secret(OBJECT_STORE_ACCESS_KEY)?, secret: mount.secret(OBJECT_STORE_SECRET_KEY)? };
    Ok(Some(Storage::s3(store, &credentials)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "its callers pass literals of json!")]
    fn config(workload: Value) -> Config {
        let mut document = json!({
            "platform": {"namespace": "n", "name": "p"},
            "workload": workload,
            "database": {
                "role": "analytics_workers", "pooler": "none",
                "connections": {"size": 2, "waitTimeoutSeconds": 1, "statementTimeoutSeconds": 1},
            },
            "objectStore": {"endpoint": "http://s3:9000", "bucket": "b", "region": "r"},
            "profileSource": {"endpoint": "http://apify", "actor": "a~b"},
        });
        for (key, value) in [
            ("lanes", serde_json::to_value(switchyard_contract::Lanes::default())),
            ("tiers", serde_json::to_value(switchyard_contract::Tiers::default())),
            ("retry", serde_json::to_value(switchyard_contract::Retry::default())),
            ("analysis", serde_json::to_value(switchyard_contract::Analysis::default())),
        ] {
            document[key] = value.expect("JSON");
        }
        serde_json::from_value(document).expect("a configuration")
    }

    fn pool(kind: &str) -> Config {
        config(json!({"type": "pool", "name": "main", "kind": kind, "lanes": ["low"], "concurrency": 1}))
    }

    fn build(config: &Config, mount: &Mount) -> anyhow::Result<Arc<dyn Handler>> {
        let cache = Cache::connect(&"redis://127.0.0.1:9".into(), Duration::ZERO).expect("a URL");
        let mut registry = Registry::default();
        let breakers = Breakers::register(&mut registry);
        for_pool(config, mount, cache, &mut registry, &breakers)
    }

    fn refusal(config: &Config, mount: &Mount) -> String {
        build(config, mount).err().expect("refused").to_string()
    }

    #[tokio::test]
    async fn handler_requires_only_what_its_kind_needs() {
        let folder = tempfile::tempdir().expect("a directory");
        let mount = Mount::at(folder.path());
        for kind in ["general", "discovery"] {
            assert!(build(&pool(kind), &mount).is_ok(), "{kind}");
        }
        assert!(refusal(&pool("cdn"), &mount).contains("access-key"));
        let secrets = folder.path().join("secrets/object-store");
        std::fs::create_dir_all(&secrets).expect("a directory");
        for key in ["access-key", "secret-key"] {
            std::fs::write(secrets.join(key), "x").expect("a file");
        }
        assert!(build(&pool("cdn"), &mount).is_ok());
    }

    #[tokio::test]
    async fn unsupported_workload_is_named() {
        let mount = Mount::at("/nowhere");
        assert!(refusal(&pool("ai"), &mount).contains("switchyard-ai"));
        assert!(refusal(&config(json!({"type": "api"})), &mount).contains("only runs worker pools"));
    }

    #[tokio::test]
    async fn invalid_endpoint_stops_the_worker() {
        let folder = tempfile::tempdir().expect("a directory");
        let secrets = folder.path().join("secrets/profile-source");
        std::fs::create_dir_all(&secrets).expect("a directory");
        std::fs::write(secrets.join("token"), "t\n").expect("a file");
        let mut config = pool("general");
        config.profile_source.as_mut().expect("a source").endpoint = "apify.example".to_owned();
        assert!(refusal(&config, &Mount::at(folder.path())).contains("profileSource.endpoint 'apify.example'"));
    }
}
