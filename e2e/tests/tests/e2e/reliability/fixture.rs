//! A platform under load, and the injection of faults.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use switchyard_e2e::{ApiClient, Cluster, Namespace, Platform, Prometheus, Timing, deploy_profile_source, eventually};

use super::{
    command::{blackhole, for_each_node, send_signal},
    pair::{DatabasePair, PRIMARY_POD},
    scenario::Scenario::{
        self, BrokerDown, CacheDown, CertificateExpired, ClockSkewed, DatabaseDown, DatabaseHung, DatabaseKilled,
        DiskFull, Failover, NetworkPartitioned, NodeDrained, ObjectStoreSlow, PodPartitioned, PodsKilled,
        SourceMalformed,
    },
};

/// A platform with a tenant, monitored by its own Prometheus.
pub struct Fixture {
    pub namespace: Namespace,
    platform: Platform,
    admin: ApiClient,
    pub client: ApiClient,
    tenant: String,
    prometheus: Prometheus,
    /// The user-managed database, if the platform has one.
    pair: Option<DatabasePair>,
}

impl Fixture {
    /// Starts a platform with bundled services.
    ///
    /// It is paused once it is Ready, because the operator would remove the injected faults.
    /// Kubernetes and the workloads have to recover from their consequences.
    pub async fn bundled() -> Result<Self> {
        let namespace = Cluster::connect().await?.create_namespace("reliability").await?;
        let mut spec = spec(&namespace).await?;
        let this = Self::start(namespace, &spec, None).await?;
        spec["paused"] = json!(true);
        this.platform.apply(&spec).await?;
        Ok(this)
    }

    /// Starts a platform with a user-managed database. The operator is active, with automatic
    /// recovery.
    pub async fn user_managed() -> Result<Self> {
        let namespace = Cluster::connect().await?.create_namespace("reliability-own").await?;
        let pair = DatabasePair::start(&namespace).await?;
        let mut spec = spec(&namespace).await?;
        spec["database"] = DatabasePair::database_spec();
        Self::start(namespace, &spec, Some(pair)).await
    }

    async fn start(namespace: Namespace, spec: &Value, pair: Option<DatabasePair>) -> Result<Self> {
        let platform = Platform::ready(&namespace, "main", spec.clone()).await?;
        let admin = platform.admin().await?;
        let (tenant, client) = admin.create_tenant("enterprise", 1_000_000).await?;
        let (monitor, rule) = namespace.monitoring_objects("main").await?;
        let receivers = concat!(env!("CARGO_MANIFEST_DIR"), "/../../monitoring/alertmanager.yaml");
        let receivers = fs::read_to_string(receivers)?;
        let prometheus = Prometheus::start(&namespace.cluster, &monitor, &rule, &receivers, Timing::Real).await?;
        Ok(Self { namespace, platform, admin, client, tenant, prometheus, pair })
    }

    /// Stops Prometheus and deletes the namespace.
    pub async fn delete(self) -> Result<()> {
        drop(self.prometheus);
        self.namespace.delete().await
    }

    /// Checks that the tenant's balance equals its ledger.
    pub async fn check_balance(&self) -> Result<()> {
        self.admin.check_balance(&self.tenant).await
    }

    fn pair(&self) -> Result<&DatabasePair> {
        self.pair.as_ref().context("the database is not user-managed")
    }

    async fn kill(&self, pod: &str) -> Result<()> {
        self.namespace.api("Pod").delete(pod, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    /// The processes of a pod whose command line contains `words`; an error if it has none.
    async fn processes(&self, pod: &str, words: &str) -> Result<Vec<String>> {
        let found = self.namespace.processes(pod, words).await?;
        ensure!(!found.is_empty(), "no process '{words}' in {pod}");
        Ok(found.iter().map(u32::to_string).collect())
    }

    /// Injects a fault for the duration of the scenario, and removes it.
    #[expect(clippy::too_many_lines, reason = "one arm for each scenario")]
    pub async fn inject(&self, scenario: Scenario) -> Result<()> {
        let end = Instant::now() + scenario.duration();
        match scenario {
            PodsKilled => {
                for n in 0.. {
                    if Instant::now() >= end {
                        break;
                    }
                    let pods = self.namespace.pod_names("app.kubernetes.io/component in (api,worker)").await?;
                    if let Some(pod) = pods.get(n % pods.len().max(1)) {
                        self.kill(pod).await?;
                    }
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
            NodeDrained => {
                for_each_node("cordon")?;
                for pod in self.namespace.pod_names("switchyard.dev/platform=main").await? {
                    self.namespace.api("Pod").delete(&pod, &DeleteParams::default()).await?;
                }
                tokio::time::sleep_until(end.into()).await;
                for_each_node("uncordon")?;
            }
            DatabaseKilled => {
                self.kill("main-postgresql-0").await?;
                tokio::time::sleep_until(end.into()).await;
            }
            DatabaseDown | BrokerDown | CacheDown => {
                let name = match scenario {
                    DatabaseDown => "main-postgresql",
                    BrokerDown => "main-rabbitmq",
                    _ => "main-redis",
                };
                self.namespace.scale("StatefulSet", name, 0).await?;
                tokio::time::sleep_until(end.into()).await;
                self.namespace.scale("StatefulSet", name, 1).await?;
            }
            ObjectStoreSlow => {
                let processes = self.processes("main-s3-0", "versitygw").await?;
                let signal = |signal| send_signal(signal, &processes);
                while Instant::now() < end {
                    signal("-STOP")?;
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    signal("-CONT")?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            // The callers request such profiles.
            SourceMalformed => tokio::time::sleep_until(end.into()).await,
            NetworkPartitioned => {
                let pods = self.namespace.pod_names("switchyard.dev/kind=general").await?;
                let pod = pods.first().context("a general worker")?;
                let process = self.processes(pod, "switchyard-worker").await?.remove(0);
                let database = self.address("main-postgresql").await?;
                blackhole("add", &process, &database)?;
                tokio::time::sleep_until(end.into()).await;
                blackhole("del", &process, &database)?;
            }
            DiskFull => {
                // Repeat, because the server frees space of its own.
                while Instant::now() < end {
                    self.pair()?.fill_volume().await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                self.pair()?.free_volume().await?;
            }
            CertificateExpired => {
                self.pair()?.install_certificate(false).await?;
                tokio::time::sleep_until(end.into()).await;
                self.pair()?.install_certificate(true).await?;
            }
            ClockSkewed => {
                self.pair()?.set_clock_ahead(300).await?;
                tokio::time::sleep_until(end.into()).await;
                self.pair()?.set_clock_ahead(0).await?;
            }
            DatabaseHung => {
                // Three rounds: a round misses processes that start meanwhile, and kill fails for
                // those that ended. A stopped postmaster starts no more.
                for _ in 0..3 {
                    let _ = send_signal("-STOP", &self.processes(PRIMARY_POD, "postgres").await?);
                }
                tokio::time::sleep_until(end.into()).await;
                let _ = send_signal("-CONT", &self.processes(PRIMARY_POD, "postgres").await?);
            }
            PodPartitioned => {
                self.namespace.scale("WorkerPool", "main-general", 2).await?;
                let two = || async {
                    let deployment = self.namespace.get("Deployment", "main-general").await?;
                    ensure!(deployment["status"]["readyReplicas"] == 2, "{}", deployment["status"]);
                    Ok(())
                };
                eventually(scenario.duration(), "two workers are ready", two).await?;
                let pods = self.namespace.pod_names("switchyard.dev/kind=general").await?;
                let pod = pods.first().context("a general worker")?;
                let process = self.processes(pod, "switchyard-worker").await?.remove(0);
                blackhole("add", &process, &self.address("database").await?)?;
                let gone = || async {
                    let pods = self.namespace.pod_names("switchyard.dev/kind=general").await?;
                    ensure!(pods.len() == 2 && !pods.contains(pod), "{pods:?}");
                    Ok(())
                };
                eventually(scenario.duration(), "the pod is replaced", gone).await?;
                eventually(scenario.duration(), "two workers are ready again", two).await?;
                self.namespace.scale("WorkerPool", "main-general", 1).await?;
            }
            Failover => {
                self.pair()?.kill_primary().await?;
                tokio::time::sleep_until(end.into()).await;
                self.pair()?.promote_standby().await?;
            }
        }
        Ok(())
    }

    async fn address(&self, service: &str) -> Result<String> {
        let service = self.namespace.get("Service", service).await?;
        Ok(format!("{}/32", service["spec"]["clusterIP"].as_str().context("clusterIP")?))
    }

    /// The health score of the platform; 0 if the API does not answer.
    pub async fn score(&self) -> u64 {
        let response = self.admin.get("/admin/v1/health").await;
        response.ok().and_then(|response| response.body["score"].as_u64()).unwrap_or(0)
    }

    /// The names of the firing alerts, sorted.
    pub async fn alerts(&self) -> Result<Vec<String>> {
        let firing = self.prometheus.firing().await?;
        let mut names: Vec<String> =
            firing.into_iter().map(|(name, _)| name.trim_start_matches('~').to_owned()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// The common part of the specs.
async fn spec(namespace: &Namespace) -> Result<Value> {
    Ok(json!({
        "environment": "development", "profileSource": deploy_profile_source(namespace).await?, "monitoring": {"interval": "5s"},
        "api": {"replicas": 2},
        "retry": {"delays": ["5s", "10s", "20s", "40s", "60s", "60s"]},
        "tiers": {"enterprise": {"concurrent": 1000, "lane": "normal"}},
    }))
}
