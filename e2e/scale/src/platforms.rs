//! The platforms under test and their pools.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::observer::Observer;

/// Default pools of a platform.
const DEFAULT_POOLS: usize = 4;

/// A number of identical platforms, each in its own namespace.
pub struct Platforms {
    count: usize,
    /// Pools per platform in addition to the default ones.
    extra_pools: usize,
}

impl Platforms {
    /// Spreads `pools` evenly over `platforms`.
    ///
    /// # Errors
    /// The pools do not divide evenly, or are fewer than the default pools.
    pub fn new(platforms: usize, pools: usize) -> Result<Self> {
        ensure!(
            platforms > 0 && pools.is_multiple_of(platforms),
            "the number of pools must be a multiple of the number of platforms"
        );
        ensure!(pools / platforms >= DEFAULT_POOLS, "a platform has at least {DEFAULT_POOLS} pools");
        Ok(Self { count: platforms, extra_pools: pools / platforms - DEFAULT_POOLS })
    }

    /// Number of platforms.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Number of pools of all platforms.
    pub const fn pools(&self) -> usize {
        self.count * (self.extra_pools + DEFAULT_POOLS)
    }

    /// Creates all platforms concurrently and waits until every pool is Ready. Returns the time
    /// since before the first creation.
    pub async fn create_and_wait_ready(
        &self,
        client: &Client,
        observer: &Observer,
        limit: Duration,
    ) -> Result<Duration> {
        let namespaces: Vec<String> = (0..self.count).map(namespace).collect();
        stream::iter(&namespaces)
            .map(Ok)
            .try_for_each_concurrent(8, |namespace| create_namespace(client, namespace))
            .await?;
        let start = Instant::now();
        let creating =
            stream::iter(&namespaces).map(Ok).try_for_each_concurrent(8, |namespace| self.create(client, namespace));
        let waiting = async {
            let mut last_report = 0;
            loop {
                let ready = observer.ready();
                if ready >= self.pools() {
                    return Ok(start.elapsed());
                }
                if start.elapsed() > limit {
                    bail!("{ready} of {} pools are Ready after {limit:?}", self.pools());
                }
                if start.elapsed().as_secs() / 10 > last_report {
                    last_report = start.elapsed().as_secs() / 10;
                    println!("  {:>3} s: {ready} of {} pools Ready", start.elapsed().as_secs(), self.pools());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let (created, ready) = tokio::join!(creating, waiting);
        created?;
        ready
    }

    async fn create(&self, client: &Client, namespace: &str) -> Result<()> {
        create_resource(client, namespace, "AnalyticsPlatform", "main", json!({
            "environment": "staging", "api": {"replicas": 1},
            "database": {"secretRef": {"name": "db"}}, "broker": {"secretRef": {"name": "mq"}}, "cache": {"secretRef": {"name": "redis"}},
            "objectStore": {"endpoint": "http://s3.example.org", "bucket": "images", "secretRef": {"name": "s3"}},
        })).await?;
        for at in 0..self.extra_pools {
            let spec =
                json!({"platformRef": {"name": "main"}, "kind": "cdn", "replicas": 1, "connections": {"size": 4}});
            create_resource(client, namespace, "WorkerPool", &pool(at), spec).await?;
        }
        Ok(())
    }

    /// Changes the replicas of `changes` random pools, one after the other. Returns the time of
    /// each until its Deployment followed.
    pub async fn time_changes(&self, client: &Client, observer: &Observer, changes: usize) -> Result<Vec<Duration>> {
        let mut random = StdRng::seed_from_u64(1);
        let mut times = Vec::new();
        for change in 0..changes {
            let namespace = namespace(random.random_range(0..self.count));
            let name = if self.extra_pools > 0 {
                pool(random.random_range(0..self.extra_pools))
            } else {
                "main-cdn".to_owned()
            };
            // Alternates between 0 and 1 replicas, so that every patch is a change.
            let replicas = i64::from(observer.replicas_since(&namespace, &name, 0).is_some());
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource("WorkerPool"));
            let patched = Instant::now();
            api.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": replicas}}))).await?;
            let since = loop {
                if let Some(since) = observer.replicas_since(&namespace, &name, replicas) {
                    break since;
                }
                ensure!(
                    patched.elapsed() < Duration::from_mins(1),
                    "change {change} of {namespace}/{name} was never applied"
                );
                tokio::time::sleep(Duration::from_millis(2)).await;
            };
            times.push(since.saturating_duration_since(patched));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(times)
    }
}

fn namespace(at: usize) -> String {
    format!("scale-{at:03}")
}

fn pool(at: usize) -> String {
    format!("pool-{at:03}")
}

fn resource(kind: &str) -> ApiResource {
    let plural = if kind == "WorkerPool" { "workerpools" } else { "analyticsplatforms" };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("switchyard.dev", "v1alpha1", kind), plural)
}

async fn create_resource(client: &Client, namespace: &str, kind: &str, name: &str, spec: Value) -> Result<()> {
    let resource = resource(kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let mut object = DynamicObject::new(name, &resource);
    object.data = json!({"spec": spec});
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Creates a namespace with the Secrets of external services. KWOK's pods never connect to them.
async fn create_namespace(client: &Client, namespace: &str) -> Result<()> {
    let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
    Api::all(client.clone()).create(&PostParams::default(), &object).await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for (name, data) in [
        ("db", json!({"uri": "postgres://app@db.example.org/app", "admin-uri": "postgres://admin@db.example.org/app"})),
        ("mq", json!({"uri": "amqp://mq.example.org"})),
        ("redis", json!({"uri": "redis://redis.example.org"})),
        ("s3", json!({"access-key": "a", "secret-key": "b"})),
    ] {
        let secret: Secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": data}))?;
        secrets.create(&PostParams::default(), &secret).await?;
    }
    Ok(())
}
