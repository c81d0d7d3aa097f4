//! `presets.md`: the environments side by side, from the objects that the operator plans.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde_json::Value;
use switchyard_contract::Kind;
use switchyard_operator::{
    crd::Environment,
    preview::{documents::Documents, offline, outcome::Planned},
    spec::{images::Images, replicas::Replicas},
};

use crate::{
    defaults::{ENVIRONMENTS, allocations, duration},
    markdown::Page,
};

/// A platform as planned, with its objects by kind and name.
struct Preset {
    planned: Planned,
    objects: BTreeMap<String, Value>,
}

/// The page.
///
/// # Errors
/// A platform cannot be planned, which is a bug.
pub fn page() -> anyhow::Result<Page> {
    let presets = ENVIRONMENTS.iter().map(|environment| plan(*environment)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut page = Page::new(
        "presets.md",
        "Presets",
        "This page shows what the three values of `spec.environment` preset, side by side, for a platform that sets \
         nothing else.",
    );
    page.paragraph(
        "Every field of an [AnalyticsPlatform](analytics-platform.md) or a [WorkerPool](worker-pool.md) takes \
         precedence over the preset. `switchyard plan` shows the same values for your platform. See [run in \
         production](../how-to/production.md).",
    );
    services(&mut page, &presets)?;
    workload(&mut page, &presets, "API", "main-api", "api")?;
    page.heading(2, "Default pools");
    page.paragraph("The operator creates a pool for each kind of work.");
    for kind in Kind::ALL {
        workload(&mut page, &presets, &format!("Pool of kind {kind}"), &format!("main-{kind}"), "worker")?;
    }
    bundled(&mut page, &presets)?;
    connections(&mut page)?;
    objects(&mut page, &presets)?;
    Ok(page)
}

/// Plans a platform `main` that sets only what its environment demands.
fn plan(environment: Environment) -> anyhow::Result<Preset> {
    let services = match environment {
        Environment::Development => "",
        Environment::Staging | Environment::Production => {
            "database: {secretRef: {name: a}}\n  broker: {secretRef: {name: b}}\n  cache: {secretRef: {name: c}}\n  \
             objectStore: {endpoint: https://s3.example.com, bucket: images, secretRef: {name: d}}"
        }
    };
    let text = format!(
        "apiVersion: switchyard.dev/v1alpha1\nkind: AnalyticsPlatform\nmetadata: {{name: main}}\nspec:\n  \
         environment: {}\n  {services}\n",
        environment.as_str()
    );
    let mut documents = Documents::default();
    documents.add("preset", &text)?;
    let images = Images { priority_classes: Some("switchyard".to_owned()), ..Images::of_release() };
    let planned = offline::outcome(&documents, "shop", &images)?.platforms.pop().context("no platform was planned")?;
    let mut objects = BTreeMap::new();
    for manifest in &planned.manifests {
        let name = format!("{}/{}", manifest.resource.kind, manifest.name());
        objects.insert(name, serde_json::to_value(&manifest.object)?);
    }
    Ok(Preset { planned, objects })
}

/// A row of a table: the name of a setting, and its value in a preset.
type Row<'a> = (&'a str, &'a dyn Fn(&Preset) -> String);

/// A table with a row for each setting. A row whose values are all empty is left out.
fn table(page: &mut Page, presets: &[Preset], rows: &[Row<'_>]) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .filter_map(|(name, value)| {
            let values: Vec<String> = presets.iter().map(value).collect();
            let shown = values.iter().map(|value| if value.is_empty() { "none".to_owned() } else { value.clone() });
            values
                .iter()
                .any(|value| !value.is_empty())
                .then(|| std::iter::once((*name).to_owned()).chain(shown).collect())
        })
        .collect();
    let names = ENVIRONMENTS.map(Environment::as_str);
    page.table(&["", names[0], names[1], names[2]], &rows)
}

fn services(page: &mut Page, presets: &[Preset]) -> anyhow::Result<()> {
    page.heading(2, "Backing services");
    page.paragraph("A bundled service is one pod without replicas. It is for development only.");
    let bundled = |is_bundled: bool| if is_bundled { "bundled".to_owned() } else { "yours".to_owned() };
    table(
        page,
        presets,
        &[
            ("PostgreSQL", &|preset| bundled(preset.planned.settings.database.is_bundled())),
            ("RabbitMQ", &|preset| bundled(preset.planned.settings.broker.is_bundled())),
            ("Redis", &|preset| bundled(preset.planned.settings.cache.is_bundled())),
            ("S3", &|preset| bundled(preset.planned.settings.object_store.is_bundled())),
        ],
    )
}

/// A part of a Deployment as text; empty if it has none.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn workload(page: &mut Page, presets: &[Preset], title: &str, name: &str, container: &str) -> anyhow::Result<()> {
    page.heading(if name == "main-api" { 2 } else { 3 }, title);
    let deployment = |preset: &Preset| preset.objects.get(&format!("Deployment/{name}")).cloned().unwrap_or_default();
    let pod = |preset: &Preset| deployment(preset)["spec"]["template"]["spec"].clone();
    let resources = |preset: &Preset| {
        let pod = pod(preset);
        let containers = pod["containers"].as_array().into_iter().flatten();
        containers.filter(|found| found["name"] == container).map(|found| found["resources"].clone()).next()
    };
    let resource = |preset: &Preset, part: &str, name: &str| {
        resources(preset).map(|resources| text(&resources[part][name])).unwrap_or_default()
    };
    let scaling = |preset: &Preset| preset.planned.settings.api_replicas.scaling();
    let pods = |preset: &Preset| match preset.planned.settings.api_replicas {
        Replicas::Scaled(bounds) if name == "main-api" => format!("{} to {}", bounds.min(), bounds.max()),
        _ => text(&deployment(preset)["spec"]["replicas"]),
    };
    let target = |preset: &Preset| {
        let targets = preset.planned.settings.api_targets;
        scaling(preset)
            .filter(|_| name == "main-api")
            .map(|_| format!("{} % CPU, {} % memory", targets.cpu, targets.memory))
    };
    let has = |preset: &Preset, kind: &str| preset.objects.contains_key(&format!("{kind}/{name}"));
    let yes = |is: bool| if is { "yes".to_owned() } else { "no".to_owned() };
    table(
        page,
        presets,
        &[
            ("Pods", &pods),
            ("Autoscaling target", &|preset| target(preset).unwrap_or_default()),
            ("CPU request", &|preset| resource(preset, "requests", "cpu")),
            ("Memory request", &|preset| resource(preset, "requests", "memory")),
            ("CPU limit", &|preset| resource(preset, "limits", "cpu")),
            ("Memory limit", &|preset| resource(preset, "limits", "memory")),
            ("Jobs at once in a pod", &|preset| jobs(preset, name)),
            ("Database connections of a pod", &|preset| pool_connections(preset, name)),
            ("Termination grace period", &|preset| {
                pod(preset)["terminationGracePeriodSeconds"].as_u64().map(duration).unwrap_or_default()
            }),
            ("PodDisruptionBudget", &|preset| yes(has(preset, "PodDisruptionBudget"))),
            ("Spread over nodes", &|preset| yes(pod(preset)["topologySpreadConstraints"].is_array())),
            ("Priority class", &|preset| text(&pod(preset)["priorityClassName"])),
        ],
    )
}

/// The mounted configuration of a workload.
fn config(preset: &Preset, name: &str) -> Value {
    let map = preset.objects.get(&format!("ConfigMap/{name}"));
    let text = map.map(|map| text(&map["data"]["config.json"])).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn jobs(preset: &Preset, name: &str) -> String {
    text(&config(preset, name)["workload"]["concurrency"])
}

fn pool_connections(preset: &Preset, name: &str) -> String {
    let connections = &config(preset, name)["database"]["connections"];
    let (size, overflow) = (text(&connections["size"]), text(&connections["overflow"]));
    if overflow.is_empty() || size.is_empty() { size } else { format!("{size} + {overflow}") }
}

fn bundled(page: &mut Page, presets: &[Preset]) -> anyhow::Result<()> {
    page.heading(2, "Resources of the bundled services");
    let Some(development) = presets.first() else { return Ok(()) };
    let sets =
        development.objects.iter().filter_map(|(name, set)| Some((name.strip_prefix("StatefulSet/main-")?, set)));
    let mut rows = Vec::new();
    for (name, set) in sets {
        let containers = set["spec"]["template"]["spec"]["containers"].as_array();
        let resources = containers.and_then(|all| all.first()).map(|first| first["resources"].clone());
        let resources = resources.unwrap_or_default();
        let volume = &set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
        let volume = if volume.is_null() { "none".to_owned() } else { text(volume) };
        rows.push(vec![
            name.to_owned(),
            text(&resources["requests"]["cpu"]),
            text(&resources["requests"]["memory"]),
            text(&resources["limits"]["memory"]),
            volume,
        ]);
    }
    page.table(&["service", "CPU request", "memory request", "memory limit", "volume"], &rows)
}

fn connections(page: &mut Page) -> anyhow::Result<()> {
    page.heading(2, "Database connections");
    page.paragraph(
        "Every preset divides `spec.database.maxConnections` in the same proportion. These are the allocations of the \
         default. Overflow connections are opened for peaks and closed when idle.",
    );
    let rows: Vec<Vec<String>> = allocations()
        .map(|(role, share)| {
            vec![
                format!("`{role}`"),
                share.size.to_string(),
                share.overflow.to_string(),
                duration(share.wait_timeout_seconds),
                duration(share.statement_timeout_seconds),
            ]
        })
        .collect();
    page.table(&["role", "size", "overflow", "waitTimeout", "statementTimeout"], &rows)
}

fn objects(page: &mut Page, presets: &[Preset]) -> anyhow::Result<()> {
    page.heading(2, "Number of objects");
    page.paragraph(
        "The operator creates these objects, and Secrets with generated values. PodMonitors and PrometheusRules exist \
         only where the cluster has these kinds.",
    );
    let kind = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
    let kinds: BTreeSet<String> = presets.iter().flat_map(|preset| preset.objects.keys().map(kind)).collect();
    let mut rows = Vec::new();
    for found in kinds {
        let count = |preset: &Preset| preset.objects.keys().filter(|name| kind(name) == found).count().to_string();
        rows.push(std::iter::once(found.clone()).chain(presets.iter().map(count)).collect());
    }
    let names = ENVIRONMENTS.map(Environment::as_str);
    page.table(&["kind", names[0], names[1], names[2]], &rows)
}
