//! Debian's Prometheus and Alertmanager, configured by the objects of a platform.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{cluster::Cluster, sync::lock, wait::eventually};

/// `for` and `keep_firing_for` with [`Timing::Shortened`]. `monitoring/tests` tests the real
/// durations.
const SHORT: &str = "5s";
/// Range of a range vector with [`Timing::Shortened`].
const WINDOW: &str = "[30s]";

/// Durations of the alert rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Those of the PrometheusRule.
    Real,
    /// Seconds instead of minutes.
    Shortened,
}

/// Prometheus and Alertmanager on loopback, configured by a PodMonitor and a PrometheusRule.
///
/// Dropping it ends both.
pub struct Prometheus {
    http: reqwest::Client,
    url: String,
    alertmanager: String,
    /// Bodies of the notifications that Alertmanager sent.
    notifications: Arc<Mutex<Vec<String>>>,
    children: Vec<Child>,
    folder: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A port that is free now.
async fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// Serves a receiver of notifications, and service discovery of pods. Returns its URL.
///
/// Debian's Prometheus is built without the discovery of Kubernetes.
async fn serve_receiver_and_discovery(notifications: Arc<Mutex<Vec<String>>>, cluster: Cluster) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let receive = async |State(notifications): State<Arc<Mutex<Vec<String>>>>, body: String| {
        lock(&notifications).push(body);
        "ok"
    };
    let discover = async move |Path(namespace): Path<String>| {
        targets(&cluster, &namespace).await.map(Json).map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))
    };
    let router = Router::new()
        .route("/chat", post(receive))
        .route("/pager", post(receive))
        .with_state(notifications)
        .route("/pods/{namespace}", get(discover));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// The container ports of a namespace, with the labels of Prometheus' Kubernetes discovery (role
/// pod).
async fn targets(cluster: &Cluster, namespace: &str) -> Result<Value> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let mut found = Vec::new();
    for pod in pods.list(&ListParams::default()).await? {
        let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.clone()) else { continue };
        let mut common =
            json!({"__meta_kubernetes_namespace": namespace, "__meta_kubernetes_pod_name": pod.name_any()});
        for (name, value) in pod.labels() {
            common[format!("__meta_kubernetes_pod_label_{}", sanitized(name))] = json!(value);
        }
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        for port in containers.flat_map(|container| container.ports.iter().flatten()) {
            let mut labels = common.clone();
            labels["__meta_kubernetes_pod_container_port_name"] = json!(port.name);
            found.push(json!({"targets": [format!("{address}:{}", port.container_port)], "labels": labels}));
        }
    }
    Ok(Value::Array(found))
}

/// A label name as Prometheus' Kubernetes discovery writes it.
fn sanitized(label: &str) -> String {
    label.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// The scrape job of a PodMonitor, as the Prometheus operator generates it.
///
/// Keeps the selected pods and port of its namespace, then applies the monitor's own relabelings.
fn scrape_job(monitor: &Value, pods: &str) -> Result<Value> {
    let namespace = monitor["metadata"]["namespace"].as_str().context("namespace")?;
    let (selector, endpoint) = (&monitor["spec"]["selector"], &monitor["spec"]["podMetricsEndpoints"][0]);
    let label = |name: &str| format!("__meta_kubernetes_pod_label_{}", sanitized(name));
    let mut relabel = Vec::new();
    for (name, value) in selector["matchLabels"].as_object().context("matchLabels")? {
        relabel.push(json!({"action": "keep", "source_labels": [label(name)], "regex": value}));
    }
    for expression in selector["matchExpressions"].as_array().context("matchExpressions")? {
        ensure!(expression["operator"] == "In", "{expression}");
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let name = expression["key"].as_str().context("key")?;
        relabel.push(json!({"action": "keep", "source_labels": [label(name)], "regex": values.join("|")}));
    }
    relabel.push(json!({"action": "keep", "source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": endpoint["port"]}));
    relabel.push(json!({"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"}));
    relabel.push(json!({"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"}));
    for own in endpoint["relabelings"].as_array().context("relabelings")? {
        let mut rule = json!({"action": own["action"], "target_label": own["targetLabel"]});
        for (from, to) in [("sourceLabels", "source_labels"), ("regex", "regex"), ("replacement", "replacement")] {
            if !own[from].is_null() {
                rule[to] = own[from].clone();
            }
        }
        relabel.push(rule);
    }
    Ok(json!({
        "job_name": "platform", "scrape_interval": endpoint["interval"],
        "http_sd_configs": [discovery(pods, namespace)], "relabel_configs": relabel,
    }))
}

fn discovery(pods: &str, namespace: &str) -> Value {
    json!({"url": format!("{pods}/{namespace}"), "refresh_interval": "2s"})
}

/// The scrape job of the operator, as in monitoring/README.md.
fn operator_scrape_job(pods: &str) -> Value {
    json!({
        "job_name": "switchyard-operator", "scrape_interval": "2s", "honor_labels": true,
        "http_sd_configs": [discovery(pods, "switchyard-system")],
        "relabel_configs": [{"action": "keep", "source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "operations"}],
    })
}

/// The groups of a PrometheusRule, with short durations.
fn shortened(groups: &Value) -> Value {
    let mut groups = groups.clone();
    for group in groups.as_array_mut().into_iter().flatten() {
        group["interval"] = json!("2s");
        for rule in group["rules"].as_array_mut().into_iter().flatten() {
            for field in ["for", "keep_firing_for"] {
                if !rule[field].is_null() {
                    rule[field] = json!(SHORT);
                }
            }
            let expr = rule["expr"].as_str().unwrap_or_default().to_owned();
            rule["expr"] = json!(short_windows(&expr));
        }
    }
    groups
}

/// Replaces ranges of minutes or more by [`WINDOW`], and the offset of 30 minutes by 30 seconds.
fn short_windows(expr: &str) -> String {
    let mut out = String::new();
    let mut rest = expr;
    while let Some(start) = rest.find('[') {
        let Some(length) = rest[start..].find(']') else { break };
        let range = &rest[start..=start + length];
        out += &rest[..start];
        out += if range.ends_with("s]") { range } else { WINDOW };
        rest = &rest[start + length + 1..];
    }
    out += rest;
    out.replace("offset 30m", "offset 30s")
}

impl Prometheus {
    /// Starts both with the configuration of `monitor` and `rule`.
    ///
    /// `receivers` is a configuration of Alertmanager; its notifications go to a local receiver.
    ///
    /// # Errors
    /// A file cannot be written, a program is not installed, or one of them is not ready after 30
    /// seconds.
    pub async fn start(
        cluster: &Cluster,
        monitor: &Value,
        rule: &Value,
        receivers: &str,
        timing: Timing,
    ) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("switchyard-e2e-prometheus-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir_all(folder.join("secrets"))?;
        let notifications = Arc::<Mutex<Vec<String>>>::default();
        let receiver = serve_receiver_and_discovery(notifications.clone(), cluster.clone()).await?;
        let pods = format!("{receiver}/pods");
        fs::write(folder.join("secrets/chat-url"), format!("{receiver}/chat"))?;
        fs::write(folder.join("secrets/pager-key"), "key")?;
        let secrets = folder.join("secrets").display().to_string();
        // PagerDuty is replaced by the local receiver, and group intervals are shortened.
        let config = receivers.replace("/etc/alertmanager/secrets", &secrets).replace(
            "pagerduty_configs:\n      - ",
            &format!("pagerduty_configs:\n      - url: {receiver}/pager\n        "),
        );
        let config: String = config
            .lines()
            .map(|line| match line.split_once(": ") {
                Some((key, _)) if ["group_wait", "group_interval"].contains(&key.trim()) => format!("{key}: 1s\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        fs::write(folder.join("alertmanager.yml"), config)?;
        let groups = &rule["spec"]["groups"];
        let groups = if timing == Timing::Shortened { shortened(groups) } else { groups.clone() };
        fs::write(folder.join("rules.json"), json!({"groups": groups}).to_string())?;
        let (port, alert_port) = (free_port().await?, free_port().await?);
        let prometheus = json!({
            "global": {"evaluation_interval": "2s", "scrape_timeout": "2s", "scrape_interval": "2s"},
            "rule_files": [folder.join("rules.json")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [format!("127.0.0.1:{alert_port}")]}]}]},
            "scrape_configs": [scrape_job(monitor, &pods)?, operator_scrape_job(&pods)],
        });
        fs::write(folder.join("prometheus.yml"), prometheus.to_string())?;
        let start = |program: &str, log: &str, arguments: Vec<String>| -> Result<Child> {
            let log = fs::File::create(folder.join(log))?;
            let child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("could not start {program}; e2e/prepare installs it"))?;
            Ok(child)
        };
        let path = |name: &str| folder.join(name).display().to_string();
        let alertmanager = start(
            "prometheus-alertmanager",
            "alertmanager.log",
            vec![
                format!("--config.file={}", path("alertmanager.yml")),
                format!("--storage.path={}", path("alerts")),
                format!("--web.listen-address=127.0.0.1:{alert_port}"),
                "--cluster.listen-address=".to_owned(),
            ],
        )?;
        let prometheus = start(
            "prometheus",
            "prometheus.log",
            vec![
                format!("--config.file={}", path("prometheus.yml")),
                format!("--storage.tsdb.path={}", path("data")),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--enable-feature=exemplar-storage".to_owned(),
            ],
        )?;
        let this = Self {
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?,
            url: format!("http://127.0.0.1:{port}"),
            alertmanager: format!("http://127.0.0.1:{alert_port}"),
            notifications,
            children: vec![alertmanager, prometheus],
            folder,
        };
        let ready = eventually(Duration::from_secs(30), "Prometheus and Alertmanager are ready", || async {
            for url in [&this.url, &this.alertmanager] {
                this.http.get(format!("{url}/-/ready")).send().await?.error_for_status()?;
            }
            Ok(())
        });
        if let Err(error) = ready.await {
            let log = |name: &str| fs::read_to_string(this.folder.join(name)).unwrap_or_default();
            bail!("{error:#}\n{}\n{}", log("prometheus.log"), log("alertmanager.log"));
        }
        Ok(this)
    }

    /// The URL of the page that draws a query over the last `minutes`.
    ///
    /// # Errors
    /// The URL of the server is invalid.
    pub fn graph_url(&self, query: &str, minutes: u32) -> Result<String> {
        let page = format!("{}/classic/graph", self.url);
        let range = format!("{minutes}m");
        let parameters = [("g0.expr", query), ("g0.range_input", &range), ("g0.tab", "0"), ("g0.stacked", "0")];
        Ok(reqwest::Url::parse_with_params(&page, parameters)?.to_string())
    }

    /// Runs an instant query and returns its series, each with labels and value.
    ///
    /// # Errors
    /// Prometheus does not respond, or it refuses the query.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>> {
        let url = format!("{}/api/v1/query", self.url);
        let response: Value = self.http.post(url).form(&[("query", query)]).send().await?.json().await?;
        ensure!(response["status"] == "success", "{query}: {response}");
        match &response["data"]["result"] {
            Value::Array(series) if response["data"]["resultType"] != "scalar" => Ok(series.clone()),
            scalar => Ok(vec![scalar.clone()]),
        }
    }

    /// Name and severity of the alerts at Alertmanager. Names of inhibited alerts have the prefix
    /// `~`.
    ///
    /// # Errors
    /// Alertmanager does not respond, or not with a list of alerts.
    pub async fn firing(&self) -> Result<Vec<(String, String)>> {
        let url = format!("{}/api/v2/alerts", self.alertmanager);
        let alerts: Vec<Value> = self.http.get(url).send().await?.error_for_status()?.json().await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(alerts
            .iter()
            .map(|alert| {
                let mark = if alert["status"]["state"] == "suppressed" { "~" } else { "" };
                let labels = &alert["labels"];
                (format!("{mark}{}", text(&labels["alertname"])), text(&labels["severity"]))
            })
            .collect())
    }

    /// Waits until an alert fires or, with `fires` false, until it is resolved.
    ///
    /// # Errors
    /// The alert is in the other state after `limit`.
    pub async fn wait_for_alert(&self, alert: &str, severity: &str, fires: bool, limit: Duration) -> Result<()> {
        let what = if fires { "fires" } else { "is resolved" };
        eventually(limit, format!("{alert} ({severity}) {what}"), || async {
            let all = self.firing().await?;
            let now = all.iter().any(|(name, level)| name.trim_start_matches('~') == alert && level == severity);
            ensure!(now == fires, "firing: {all:?}");
            Ok(())
        })
        .await
    }

    /// Waits until Alertmanager has sent a notification that contains all of these words.
    ///
    /// # Errors
    /// There is no such notification within `limit`.
    pub async fn wait_for_notification(&self, words: &[&str], limit: Duration) -> Result<()> {
        eventually(limit, format!("a notification contains {words:?}"), || async {
            let sent = lock(&self.notifications);
            ensure!(
                sent.iter().any(|text| words.iter().all(|word| text.contains(word))),
                "{} notifications",
                sent.len()
            );
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_windows_of_minutes_are_shortened() {
        assert_eq!(short_windows("rate(a[5m]) / b[10s] offset 30m"), "rate(a[30s]) / b[10s] offset 30s");
        assert_eq!(short_windows("a{b=\"c\"}"), "a{b=\"c\"}");
    }
}
