//! The platforms and their pools.

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

/// Pools that every platform has of itself.
const DEFAULT: usize = 4;

/// So many platforms of one shape.
pub struct Fleet {
    platforms: usize,
    /// Pools of a platform besides its default ones.
    more: usize,
}

impl Fleet {
    /// `pools` over `platforms`.
    pub fn of(platforms: usize, pools: usize) -> Result<Self> {
        ensure!(platforms > 0 && pools.is_multiple_of(platforms), "the pools must divide by the platforms");
        ensure!(pools / platforms >= DEFAULT, "a platform has {DEFAULT} pools of itself");
        Ok(Self { platforms, more: pools / platforms - DEFAULT })
    }

    pub const fn platforms(&self) -> usize {
        self.platforms
    }

    pub const fn pools(&self) -> usize {
        self.platforms * (self.more + DEFAULT)
    }

    /// Makes all of them at once, and waits until every pool is Ready. Answers how long that took, from before the first was made.
    pub async fn made_and_ready(&self, client: &Client, observer: &Observer, limit: Duration) -> Result<Duration> {
        let namespaces: Vec<String> = (0..self.platforms).map(namespace).collect();
        stream::iter(&namespaces).map(Ok).try_for_each_concurrent(8, |namespace| ground(client, namespace)).await?;
        let begun = Instant::now();
        let making =
            stream::iter(&namespaces).map(Ok).try_for_each_concurrent(8, |namespace| self.make(client, namespace));
        let waiting = async {
            let mut told = 0;
            loop {
                let ready = observer.ready();
                if ready >= self.pools() {
                    return Ok(begun.elapsed());
                }
                if begun.elapsed() > limit {
                    bail!("{ready} of {} pools are Ready after {limit:?}", self.pools());
                }
                if begun.elapsed().as_secs() / 10 > told {
                    told = begun.elapsed().as_secs() / 10;
                    println!("  {:>3} s: {ready} of {} pools Ready", begun.elapsed().as_secs(), self.pools());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let (made, ready) = tokio::join!(making, waiting);
        made?;
        ready
    }

    async fn make(&self, client: &Client, namespace: &str) -> Result<()> {
        create(client, namespace, "AnalyticsPlatform", "main", json!({
            "environment": "staging", "api": {"replicas": 1},
            "database": {"secretRef": {"name": "db"}}, "broker": {"secretRef": {"name": "mq"}}, "cache": {"secretRef": {"name": "redis"}},
            "objectStore": {"endpoint": "http://s3.example.org", "bucket": "images", "secretRef": {"name": "s3"}},
        })).await?;
        for at in 0..self.more {
            let spec =
                json!({"platformRef": {"name": "main"}, "kind": "cdn", "replicas": 1, "connections": {"size": 4}});
            create(client, namespace, "WorkerPool", &pool(at), spec).await?;
        }
        Ok(())
    }

    /// Gives `changes` pools another number of pods, one after the other, and answers how long each took to reach its Deployment.
    pub async fn changed(&self, client: &Client, observer: &Observer, changes: usize) -> Result<Vec<Duration>> {
        let mut random = StdRng::seed_from_u64(1);
        let mut times = Vec::new();
        for change in 0..changes {
            let namespace = namespace(random.random_range(0..self.platforms));
            let name = if self.more > 0 { pool(random.random_range(0..self.more)) } else { "main-cdn".to_owned() };
            // Down to none and up again, so that every change is one, and none waits for a pod.
            let replicas = if observer.replicas_since(&namespace, &name, 0).is_some() { 1 } else { 0 };
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource("WorkerPool"));
            let asked = Instant::now();
            api.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": replicas}}))).await?;
            let since = loop {
                if let Some(since) = observer.replicas_since(&namespace, &name, replicas) {
                    break since;
                }
                ensure!(
                    asked.elapsed() < Duration::from_secs(60),
                    "change {change} of {namespace}/{name} was never applied"
                );
                tokio::time::sleep(Duration::from_millis(2)).await;
            };
            times.push(since.saturating_duration_since(asked));
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

async fn create(client: &Client, namespace: &str, kind: &str, name: &str, spec: Value) -> Result<()> {
    let resource = resource(kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let mut object = DynamicObject::new(name, &resource);
    object.data = json!({"spec": spec});
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}

/// A namespace with the Secrets of services that nobody connects to: the pods only seem to run.
async fn ground(client: &Client, namespace: &str) -> Result<()> {
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
