//! A platform that is broken and mended.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use switchyard_e2e::{ApiClient, Cluster, Namespace, Pace, Platform, Prometheus, patiently, profile_source};

use crate::{
    pair::{PRIMARY_POD, Pair},
    scenario::Scenario::{
        self, BrokerAway, CacheAway, CertificateExpired, ClockJumps, DatabaseAway, DatabaseKilled, DatabaseSilent,
        DiskFull, FailsOver, NetworkCut, NodeDrained, PodSick, PodsKilled, SourceRubbish, StoreSlow,
    },
};

/// A platform with callers, watched by a Prometheus of its own.
pub struct Ground {
    pub namespace: Namespace,
    platform: Platform,
    admin: ApiClient,
    pub client: ApiClient,
    tenant: String,
    prometheus: Prometheus,
    /// The database, where it is the user's own.
    pair: Option<Pair>,
}

impl Ground {
    /// A platform with bundled servers. The operator leaves it alone once it is up: what is broken on purpose is not the operator's to mend; what breaks by that
    /// is Kubernetes' and the workloads'.
    pub async fn bundled() -> Result<Self> {
        let namespace = Cluster::connect().await?.namespace("reliability").await?;
        let mut spec = spec(&namespace).await?;
        let this = Self::up(namespace, &spec, None).await?;
        spec["paused"] = json!(true);
        this.platform.apply(&spec).await?;
        Ok(this)
    }

    /// A platform whose database is a pair of the user's own. The operator goes on, with all that it mends by itself.
    pub async fn with_a_database_of_its_own() -> Result<Self> {
        let namespace = Cluster::connect().await?.namespace("reliability-own").await?;
        let pair = Pair::start(&namespace).await?;
        let mut spec = spec(&namespace).await?;
        spec["database"] = Pair::source();
        Self::up(namespace, &spec, Some(pair)).await
    }

    async fn up(namespace: Namespace, spec: &Value, pair: Option<Pair>) -> Result<Self> {
        let platform = Platform::ready(&namespace, "main", spec.clone()).await?;
        let admin = platform.admin().await?;
        let (tenant, client) = admin.tenant("enterprise", 1_000_000).await?;
        let (monitor, rule) = namespace.monitored("main").await?;
        let receivers = concat!(env!("CARGO_MANIFEST_DIR"), "/../../monitoring/alertmanager.yaml");
        let receivers = fs::read_to_string(receivers)?;
        let prometheus = Prometheus::start(&namespace.cluster, &monitor, &rule, &receivers, Pace::Real).await?;
        Ok(Self { namespace, platform, admin, client, tenant, prometheus, pair })
    }

    /// Everything is removed.
    pub async fn end(self) -> Result<()> {
        drop(self.prometheus);
        self.namespace.delete().await
    }

    /// The tenant has paid for what it got.
    pub async fn balances(&self) -> Result<()> {
        self.admin.balances(&self.tenant).await
    }

    fn pair(&self) -> Result<&Pair> {
        self.pair.as_ref().context("the database is not the user's own")
    }

    async fn kill(&self, pod: &str) -> Result<()> {
        self.namespace.api("Pod").delete(pod, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    /// Processes of a pod whose command line holds `words`, of which there has to be one.
    async fn processes(&self, pod: &str, words: &str) -> Result<Vec<String>> {
        let found = self.namespace.processes(pod, words).await?;
        ensure!(!found.is_empty(), "no process '{words}' in {pod}");
        Ok(found.iter().map(u32::to_string).collect())
    }

    /// Breaks it for as long as the scenario lasts, and mends it.
    pub async fn break_and_mend(&self, scenario: Scenario) -> Result<()> {
        let end = Instant::now() + scenario.lasts();
        match scenario {
            PodsKilled => {
                for n in 0.. {
                    if Instant::now() >= end {
                        break;
                    }
                    let pods = self.namespace.pods("app.kubernetes.io/component in (api,worker)").await?;
                    if let Some(pod) = pods.get(n % pods.len().max(1)) {
                        self.kill(pod).await?;
                    }
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
            NodeDrained => {
                nodes("cordon")?;
                for pod in self.namespace.pods("switchyard.dev/platform=main").await? {
                    self.namespace.api("Pod").delete(&pod, &DeleteParams::default()).await?;
                }
                tokio::time::sleep_until(end.into()).await;
                nodes("uncordon")?;
            }
            DatabaseKilled => {
                self.kill("main-postgresql-0").await?;
                tokio::time::sleep_until(end.into()).await;
            }
            DatabaseAway | BrokerAway | CacheAway => {
                let name = match scenario {
                    DatabaseAway => "main-postgresql",
                    BrokerAway => "main-rabbitmq",
                    _ => "main-redis",
                };
                self.namespace.scale("StatefulSet", name, 0).await?;
                tokio::time::sleep_until(end.into()).await;
                self.namespace.scale("StatefulSet", name, 1).await?;
            }
            StoreSlow => {
                let processes = self.processes("main-s3-0", "versitygw").await?;
                let signal = |signal| signalled(signal, &processes);
                while Instant::now() < end {
                    signal("-STOP")?;
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    signal("-CONT")?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            // It is the callers who ask for such profiles.
            SourceRubbish => tokio::time::sleep_until(end.into()).await,
            NetworkCut => {
                let pods = self.namespace.pods("switchyard.dev/kind=general").await?;
                let pod = pods.first().context("a general worker")?;
                let process = self.processes(pod, "switchyard-worker").await?.remove(0);
                let database = self.address("main-postgresql").await?;
                blackhole("add", &process, &database)?;
                tokio::time::sleep_until(end.into()).await;
                blackhole("del", &process, &database)?;
            }
            DiskFull => {
                // What the server gives back of its own is taken as well.
                while Instant::now() < end {
                    self.pair()?.fill().await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                self.pair()?.empty().await?;
            }
            CertificateExpired => {
                self.pair()?.certificate(false).await?;
                tokio::time::sleep_until(end.into()).await;
                self.pair()?.certificate(true).await?;
            }
            ClockJumps => {
                self.pair()?.ahead(300).await?;
                tokio::time::sleep_until(end.into()).await;
                self.pair()?.ahead(0).await?;
            }
            DatabaseSilent => {
                // Those that have just ended are no trouble. Those that have just begun are stopped with the next look; once the postmaster is, there are no new ones.
                for _ in 0..3 {
                    let _ = signalled("-STOP", &self.processes(PRIMARY_POD, "postgres").await?);
                }
                tokio::time::sleep_until(end.into()).await;
                let _ = signalled("-CONT", &self.processes(PRIMARY_POD, "postgres").await?);
            }
            PodSick => {
                self.namespace.scale("WorkerPool", "main-general", 2).await?;
                let two = || async {
                    let deployment = self.namespace.get("Deployment", "main-general").await?;
                    ensure!(deployment["status"]["readyReplicas"] == 2, "{}", deployment["status"]);
                    Ok(())
                };
                patiently(scenario.lasts(), "two workers are ready", two).await?;
                let pods = self.namespace.pods("switchyard.dev/kind=general").await?;
                let pod = pods.first().context("a general worker")?;
                let process = self.processes(pod, "switchyard-worker").await?.remove(0);
                blackhole("add", &process, &self.address("database").await?)?;
                let gone = || async {
                    let pods = self.namespace.pods("switchyard.dev/kind=general").await?;
                    ensure!(pods.len() == 2 && !pods.contains(pod), "{pods:?}");
                    Ok(())
                };
                patiently(scenario.lasts(), "the pod is replaced", gone).await?;
                patiently(scenario.lasts(), "two workers are ready again", two).await?;
                self.namespace.scale("WorkerPool", "main-general", 1).await?;
            }
            FailsOver => {
                self.pair()?.lose().await?;
                tokio::time::sleep_until(end.into()).await;
                self.pair()?.promote().await?;
            }
        }
        Ok(())
    }

    async fn address(&self, service: &str) -> Result<String> {
        let service = self.namespace.get("Service", service).await?;
        Ok(format!("{}/32", service["spec"]["clusterIP"].as_str().context("clusterIP")?))
    }

    pub async fn score(&self) -> u64 {
        let answer = self.admin.get("/admin/v1/health").await;
        answer.ok().and_then(|answer| answer.body["score"].as_u64()).unwrap_or(0)
    }

    /// Critical and warning alerts of the platform that fire.
    pub async fn alerts(&self) -> Result<Vec<String>> {
        let firing = self.prometheus.firing().await?;
        let mut names: Vec<String> =
            firing.into_iter().map(|(name, _)| name.trim_start_matches('~').to_owned()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// What both platforms have in common.
async fn spec(namespace: &Namespace) -> Result<Value> {
    Ok(json!({
        "environment": "development", "profileSource": profile_source(namespace).await?, "monitoring": {"interval": "5s"},
        "api": {"replicas": 2},
        "retry": {"delays": ["5s", "10s", "20s", "40s", "60s", "60s"]},
        "tiers": {"enterprise": {"concurrent": 1000, "lane": "normal"}},
    }))
}

/// What a process' pod sends to an address is dropped, or is not any more.
fn blackhole(verb: &str, process: &str, address: &str) -> Result<()> {
    run("nsenter", &["-t", process, "-n", "ip", "route", verb, "blackhole", address])
}

fn signalled(signal: &str, processes: &[String]) -> Result<()> {
    run("kill", &[&[signal], processes.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat())
}

/// Runs a program of this machine to its good end.
pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Has kubectl do something to every node.
fn nodes(verb: &str) -> Result<()> {
    let program = std::env::var("SWITCHYARD_E2E_KUBECTL").context("SWITCHYARD_E2E_KUBECTL")?;
    let nodes = Command::new(&program).args(["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]).output()?;
    for node in String::from_utf8(nodes.stdout)?.split_whitespace() {
        run(&program, &[verb, node])?;
    }
    Ok(())
}
