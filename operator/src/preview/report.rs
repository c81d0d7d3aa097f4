//! Prints an outcome as text or as YAML. Pure.

use std::fmt::Write as _;

use kube::ResourceExt;
use switchyard_contract::Kind;

use crate::{
    controllers::platform::build::bundled_services::bundled_components,
    crd::{Resources, WorkerPool},
    preview::{
        difference::Verb,
        outcome::{Outcome, Planned},
    },
    resources::worker_pool::default_name,
    spec::{
        connection_budget::{ADMIN_CONNECTIONS, Budget},
        defaults,
        pool::pool_replicas,
        replicas::Replicas,
        settings::Settings,
    },
};

/// The outcome as text.
pub fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    for planned in &outcome.platforms {
        platform(&mut out, planned);
    }
    for assumed in &outcome.assumed {
        let _ = writeln!(out, "Assumption: {assumed}");
    }
    out
}

/// The objects that would be applied, in this order.
///
/// # Errors
/// An object does not serialize, which is a bug.
pub fn yaml(outcome: &Outcome) -> anyhow::Result<String> {
    let mut out = String::new();
    for manifest in outcome.platforms.iter().flat_map(|planned| &planned.manifests) {
        let _ = write!(out, "---\n{}", serde_norway::to_string(manifest)?);
    }
    Ok(out)
}

fn platform(out: &mut String, planned: &Planned) {
    let settings = &planned.settings;
    let _ =
        writeln!(out, "AnalyticsPlatform {}/{}, {}", settings.namespace, settings.name, settings.environment.as_str());
    if settings.paused {
        let _ = writeln!(out, "  Paused: nothing is applied until spec.paused is removed.");
    }
    table(out, &sizes(settings, &planned.pools));
    connections(out, settings, &planned.budget);
    changes(out, planned);
    for (what, words) in &planned.refused {
        let _ = writeln!(out, "REFUSED {what}: {words}");
    }
    out.push('\n');
}

/// Number of pods and resources of each workload.
fn sizes(settings: &Settings, pools: &[WorkerPool]) -> Vec<[String; 4]> {
    let row = |name: &str, pods: String, container: &Resources, more: String| {
        [name.to_owned(), pods, printed(container), more]
    };
    let targets = settings.api_targets;
    let aim = match settings.api_replicas {
        Replicas::Fixed(_) => String::new(),
        Replicas::Scaled(_) => format!("target {} % CPU, {} % memory", targets.cpu, targets.memory),
    };
    let mut rows = vec![
        [String::new(), "pods".into(), "container".into(), String::new()],
        row("API", pods(settings.api_replicas), &settings.api_resources, aim),
    ];
    let mut pools: Vec<&WorkerPool> = pools.iter().collect();
    // The default pools first, in the usual order.
    let position =
        |pool: &WorkerPool| Kind::ALL.iter().position(|kind| default_name(&settings.name, *kind) == pool.name_any());
    pools.sort_by_key(|pool| (position(pool).unwrap_or(usize::MAX), pool.name_any()));
    for pool in pools {
        let resources = defaults::worker_resources(settings.environment, pool.spec.kind)
            .overridden_by(pool.spec.resources.as_ref());
        let jobs =
            pool.spec.concurrency.map_or_else(|| defaults::concurrency(pool.spec.kind).to_string(), |n| n.to_string());
        let gpu = pool.spec.gpu.as_ref().map_or_else(String::new, |gpu| format!(", {} GPUs per pod", gpu.count));
        rows.push(row(
            &pool.name_any(),
            pods(pool_replicas(&pool.spec)),
            &resources,
            format!("{}, {jobs} jobs per pod{gpu}", pool.spec.kind),
        ));
    }
    let bundled = bundled_components(settings);
    if !bundled.is_empty() {
        let names: Vec<_> =
            bundled.into_iter().map(|component| component.bundled().trim_start_matches("the bundled ")).collect();
        rows.push(["bundled services".into(), "1 each".into(), String::new(), names.join(", ")]);
    }
    rows
}

fn pods(replicas: Replicas) -> String {
    match replicas {
        Replicas::Fixed(replicas) => replicas.to_string(),
        Replicas::Scaled(bounds) => format!("{} to {}", bounds.min(), bounds.max()),
    }
}

fn printed(resources: &Resources) -> String {
    let list =
        |map: &Option<std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
            map.iter().flatten().map(|(name, quantity)| format!("{name} {}", quantity.0)).collect::<Vec<_>>().join(", ")
        };
    format!("{}; limit {}", list(&resources.requests), list(&resources.limits))
}

fn connections(out: &mut String, settings: &Settings, budget: &Budget) {
    let _ = writeln!(out, "  Database connections, {} in total", settings.max_connections);
    let mut rows = vec![["", "size", "overflow", "pods at most", "used at most"].map(str::to_owned)];
    for allocation in &budget.allocations {
        let numbers = [allocation.size, allocation.overflow, allocation.pods_at_most, allocation.used_at_most]
            .map(|number| number.to_string());
        let [size, overflow, pods, used] = numbers;
        rows.push([allocation.role.to_string(), size, overflow, pods, used]);
    }
    let allocated: u32 = budget.allocations.iter().map(crate::spec::connection_budget::Allocation::total).sum();
    let reserve = settings.max_connections.saturating_sub(allocated.saturating_add(ADMIN_CONNECTIONS));
    rows.push([
        "setup and administration".into(),
        ADMIN_CONNECTIONS.to_string(),
        String::new(),
        String::new(),
        String::new(),
    ]);
    rows.push(["reserve".into(), reserve.to_string(), String::new(), String::new(), String::new()]);
    table(out, &rows);
    match budget.verdict.as_ref().and_then(|words| budget.api.as_ref().map(|_| words)) {
        Ok(words) => drop(writeln!(out, "  Fits: {words}.")),
        Err(refusal) => drop(writeln!(out, "REFUSED ConnectionBudget: {refusal}.")),
    }
}

fn changes(out: &mut String, planned: &Planned) {
    let count = |verb: Verb| planned.changes.iter().filter(|change| change.verb == verb).count();
    let _ = writeln!(
        out,
        "  Objects: {} created, {} changed, {} deleted, {} unchanged",
        count(Verb::Create),
        count(Verb::Change),
        count(Verb::Delete),
        count(Verb::Keep)
    );
    for change in planned.changes.iter().filter(|change| change.is_one()) {
        let rolls = if change.rolls { ": its pods are recreated" } else { "" };
        let _ = writeln!(out, "  {} {}{rolls}", change.verb, change.title);
        for field in &change.fields {
            let _ = writeln!(out, "      {field}");
        }
    }
}

/// Prints rows with aligned columns.
fn table<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "    {}", cells.join("  ").trim_end());
    }
}
