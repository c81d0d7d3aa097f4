//! The defaults of the custom resources, computed as the operator computes them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchyard_contract::{Kind, Lane, Lanes, Role, Tier};
use switchyard_operator::{
    capacity::pool::DEFAULT_WAIT_SECONDS,
    crd::{AnalyticsPlatformSpec, Environment, Resources, Seconds, WorkerPoolSpec},
    resources::alert_rules::MaxWaits,
    spec::{
        connection_budget::{DEFAULT_MAX, Share},
        defaults,
        monitoring::Levels,
        pool::{self, pool_replicas},
        replicas::Replicas,
        settings::Settings,
    },
};

/// The environments, the smallest first.
pub const ENVIRONMENTS: [Environment; 3] = [Environment::Development, Environment::Staging, Environment::Production];

/// The name of an alert, its thresholds, and a threshold as text.
type Threshold = (&'static str, fn(&Settings) -> Levels, fn(f64) -> String);

/// Defaults by the path of a field, such as `spec.api.replicas`.
pub type Defaults = BTreeMap<String, String>;

/// The settings of a platform that sets only what it must.
///
/// # Errors
/// The spec lacks a required field, which is a bug here.
pub fn settings(environment: Environment) -> anyhow::Result<Settings> {
    let mut spec = json!({
        "environment": environment,
        "profileSource": {"secretRef": {"name": "apify"}},
        "monitoring": {"traces": {"endpoint": "http://collector:4318"}},
    });
    if environment != Environment::Development {
        let secret = json!({"secretRef": {"name": "secret"}});
        for service in ["database", "broker", "cache"] {
            spec[service] = secret.clone();
        }
        spec["objectStore"] = json!({"endpoint": "https://s3", "bucket": "b", "secretRef": {"name": "secret"}});
    }
    let spec: AnalyticsPlatformSpec = serde_json::from_value(spec)?;
    Ok(Settings::of("shop", "main", &spec))
}

/// A duration as in a spec, such as `5m`.
pub fn duration(seconds: u64) -> String {
    Seconds(seconds).to_string()
}

/// How long the oldest job of a lane may wait by default before an alert fires.
pub fn default_waits() -> MaxWaits {
    let lanes = Lanes::default();
    [Lane::Critical, Lane::High, Lane::Normal, Lane::Low].map(|lane| (lane.as_str(), lanes.get(lane).timeout_seconds))
}

/// `value` of each environment; once if all have the same.
fn by<T>(all: &[(Environment, T)], value: impl Fn(&T) -> String) -> String {
    let values: Vec<(&str, String)> = all.iter().map(|(environment, of)| (environment.as_str(), value(of))).collect();
    match values.split_first() {
        Some(((_, first), rest)) if rest.iter().all(|(_, other)| other == first) => format!("`{first}`"),
        _ => values.iter().map(|(name, value)| format!("`{value}` in {name}")).collect::<Vec<_>>().join(", "),
    }
}

/// A percentage.
fn percent(fraction: f64) -> String {
    format!("{:.0}", fraction * 100.0)
}

/// A quantity of a container's resources.
fn quantity(resources: &Resources, part: &str, name: &str) -> String {
    let value = serde_json::to_value(resources).unwrap_or_default();
    value[part][name].as_str().unwrap_or("none").to_owned()
}

/// The requests or limits of a container, such as `cpu: 10m, memory: 48Mi`.
fn quantities(resources: &Resources, part: &str) -> String {
    let names = ["cpu", "memory"].map(|name| (name, quantity(resources, part, name)));
    let set: Vec<String> =
        names.iter().filter(|(_, value)| value != "none").map(|(n, v)| format!("{n}: {v}")).collect();
    set.join(", ")
}

/// The defaults of an `AnalyticsPlatform`.
///
/// # Errors
/// As [`settings`].
pub fn platform() -> anyhow::Result<Defaults> {
    let mut all = Vec::new();
    for environment in ENVIRONMENTS {
        all.push((environment, settings(environment)?));
    }
    let mut defaults = Defaults::new();
    let mut set = |path: &str, value: &dyn Fn(&Settings) -> String| {
        defaults.insert(format!("spec.{path}"), by(&all, value));
    };
    set("database.maxConnections", &|s| s.max_connections.to_string());
    set("database.pooler", &|s| s.pooler.to_string());
    set("objectStore.region", &|_| defaults::REGION.to_owned());
    set("profileSource.endpoint", &|s| s.profile_source.as_ref().map_or(String::new(), |p| p.endpoint.clone()));
    set("profileSource.actor", &|s| s.profile_source.as_ref().map_or(String::new(), |p| p.actor.clone()));
    set("api.replicas", &|s| match s.api_replicas {
        Replicas::Fixed(pods) => pods.to_string(),
        Replicas::Scaled(bounds) => format!("{} to {}", bounds.min(), bounds.max()),
    });
    set("api.scaling.targetCpu", &|s| s.api_targets.cpu.to_string());
    set("api.scaling.targetMemory", &|s| s.api_targets.memory.to_string());
    set("api.connections.size", &|s| s.api_share.size.to_string());
    set("api.connections.overflow", &|s| s.api_share.overflow.to_string());
    set("api.connections.waitTimeout", &|s| duration(s.api_share.wait_timeout_seconds));
    set("api.connections.statementTimeout", &|s| duration(s.api_share.statement_timeout_seconds));
    set("api.resources.requests", &|s| quantities(&s.api_resources, "requests"));
    set("api.resources.limits", &|s| quantities(&s.api_resources, "limits"));
    for lane in Lane::ALL {
        set(&format!("lanes.{lane}.capacity"), &|s| s.lanes.get(*lane).capacity.to_string());
        set(&format!("lanes.{lane}.maxRunning"), &|s| s.lanes.get(*lane).max_running.to_string());
        set(&format!("lanes.{lane}.timeout"), &|s| duration(s.lanes.get(*lane).timeout_seconds));
    }
    for tier in Tier::ALL {
        set(&format!("tiers.{tier}.concurrent"), &|s| s.tiers.get(*tier).concurrent.to_string());
        set(&format!("tiers.{tier}.daily"), &|s| {
            s.tiers.get(*tier).daily.map_or_else(|| "no limit".to_owned(), |daily| daily.to_string())
        });
        set(&format!("tiers.{tier}.price"), &|s| s.tiers.get(*tier).price.to_string());
        set(&format!("tiers.{tier}.lane"), &|s| s.tiers.get(*tier).lane.to_string());
    }
    set("retry.delays", &|s| {
        s.retry.delays_seconds.iter().map(|delay| format!("{delay}s")).collect::<Vec<_>>().join(", ")
    });
    set("networkPolicies", &|s| s.network_policies.to_string());
    set("namespaceLimits", &|s| s.namespace_limits.to_string());
    set("paused", &|s| s.paused.to_string());
    set("monitoring.prometheus", &|s| s.monitoring.prometheus.to_string());
    set("monitoring.interval", &|s| duration(s.monitoring.interval_seconds));
    let levels: [Threshold; 5] = [
        ("latency", |s| s.monitoring.thresholds.latency, |seconds| format!("{seconds}s")),
        ("errors", |s| s.monitoring.thresholds.errors, percent),
        ("cpu", |s| s.monitoring.thresholds.cpu, percent),
        ("memory", |s| s.monitoring.thresholds.memory, percent),
        ("queue", |s| s.monitoring.thresholds.queue, |jobs| jobs.to_string()),
    ];
    for (alert, levels, text) in levels {
        set(&format!("monitoring.alerts.{alert}.warning"), &|s| text(levels(s).warning));
        set(&format!("monitoring.alerts.{alert}.critical"), &|s| text(levels(s).critical));
    }
    set("monitoring.alerts.failuresPerHundredThousand", &|s| {
        format!("{:.0}", s.monitoring.thresholds.budget * 100_000.0)
    });
    set("monitoring.alerts.runbooks", &|s| s.monitoring.thresholds.runbooks.clone());
    set("monitoring.traces.percent", &|s| {
        s.monitoring.telemetry.as_ref().map_or(String::new(), |telemetry| telemetry.sample_percent.to_string())
    });
    set("recovery.replacePods", &|s| s.replace_pods.to_string());
    set("recovery.quarantineJobs", &|s| s.recovery.quarantine_jobs.to_string());
    let namespace = "the namespace of the platform".to_owned();
    defaults.insert("spec.api.route.parentRefs[].namespace".to_owned(), namespace);
    defaults
        .insert("spec.api.route.parentRefs[].sectionName".to_owned(), "every listener that accepts the route".into());
    defaults.insert("spec.api.ingress.className".to_owned(), "the default class of the cluster".to_owned());
    Ok(defaults)
}

/// The defaults of a `WorkerPool`.
///
/// # Errors
/// The spec lacks a required field, which is a bug here.
pub fn pool() -> anyhow::Result<Defaults> {
    let spec = |kind: Kind, more: Value| -> anyhow::Result<WorkerPoolSpec> {
        let mut spec = json!({"platformRef": {"name": "main"}, "kind": kind});
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        Ok(serde_json::from_value(spec)?)
    };
    let plain = spec(Kind::General, json!({}))?;
    let gpu = spec(Kind::Ai, json!({"gpu": {"count": 1}}))?.gpu;
    let mut found = Defaults::new();
    let mut set = |path: &str, value: String| found.insert(format!("spec.{path}"), value);
    let lanes: Vec<String> = pool::lanes(&plain).iter().map(ToString::to_string).collect();
    set("lanes", format!("`{}`", lanes.join(", ")));
    if let Replicas::Fixed(pods) = pool_replicas(&plain) {
        set("replicas", format!("`{pods}`, unless `scaling` is set"));
    }
    set("scaling.targetWait", format!("`{DEFAULT_WAIT_SECONDS}s`, unless `targetBacklog` is set"));
    set("concurrency", by_kind(|kind| defaults::concurrency(kind).to_string()));
    set("connections.size", "a share of its database role, see [presets](presets.md)".to_owned());
    set("connections.overflow", "a share of its database role, see [presets](presets.md)".to_owned());
    let share = |kind: Kind| Share::default_of(kind.role(), DEFAULT_MAX);
    set("connections.waitTimeout", by_kind(|kind| duration(share(kind).wait_timeout_seconds)));
    set("connections.statementTimeout", by_kind(|kind| duration(share(kind).statement_timeout_seconds)));
    set("gpu.resource", gpu.map_or(String::new(), |gpu| format!("`{}`", pool::gpu_resource(&gpu))));
    set("gpu.nodesOnDemand", "`false`".to_owned());
    set("gpu.tolerations[].operator", "`Equal`".to_owned());
    for part in ["requests", "limits"] {
        set(&format!("resources.{part}"), "those of the environment, see [presets](presets.md)".to_owned());
    }
    Ok(found)
}

/// `value` of each kind of work; kinds with the same value together.
fn by_kind(value: impl Fn(Kind) -> String) -> String {
    let mut values: Vec<(String, Vec<&str>)> = Vec::new();
    for kind in Kind::ALL {
        let value = value(*kind);
        match values.iter_mut().find(|(known, _)| *known == value) {
            Some((_, kinds)) => kinds.push(kind.as_str()),
            None => values.push((value, vec![kind.as_str()])),
        }
    }
    if let [(value, _)] = values.as_slice() {
        return format!("`{value}`");
    }
    let named = |kinds: &[&str]| match kinds {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => kinds.join(", "),
    };
    values.iter().map(|(value, kinds)| format!("`{value}` for {}", named(kinds))).collect::<Vec<_>>().join(", ")
}

/// The database roles with their default allocations.
pub fn allocations() -> impl Iterator<Item = (Role, Share)> {
    Role::ALL.iter().map(|role| (*role, Share::default_of(*role, DEFAULT_MAX)))
}
