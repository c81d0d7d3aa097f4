//! An outcome as text for people, or as YAML. Pure.

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
        connection_budget::{Budget, KEPT},
        defaults,
        pool::pool_replicas,
        replicas::Replicas,
        settings::Settings,
    },
};

/// For people.
pub fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    for planned in &outcome.platforms {
        platform(&mut out, planned);
    }
    for assumed in &outcome.assumed {
        let _ = writeln!(out, "Taken for granted: {assumed}");
    }
    out
}

/// The objects as they would be applied, in that order.
///
/// # Errors
/// When an object is no YAML, which none is.
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
        let _ = writeln!(out, "  It is paused: none of this happens before spec.paused is taken away.");
    }
    table(out, &sizes(settings, &planned.pools));
    connections(out, settings, &planned.budget);
    changes(out, planned);
    for (what, words) in &planned.refused {
        let _ = writeln!(out, "REFUSED {what}: {words}");
    }
    out.push('\n');
}

/// What the environment presets, with what the spec says instead.
fn sizes(settings: &Settings, pools: &[WorkerPool]) -> Vec<[String; 4]> {
    let row =
        |name: &str, pods: String, container: &Resources, more: String| [name.to_owned(), pods, said(container), more];
    let targets = settings.api_targets;
    let aims = match settings.api_replicas {
        Replicas::Fixed(_) => String::new(),
        Replicas::Scaled(_) => format!("aims at {} % of CPU and {} % of memory", targets.cpu, targets.memory),
    };
    let mut rows = vec![
        ["".into(), "pods".into(), "container".into(), "".into()],
        row("API", pods(settings.api_replicas), &settings.api_resources, aims),
    ];
    let mut pools: Vec<&WorkerPool> = pools.iter().collect();
    // The default pools first, as they are listed everywhere.
    let rank =
        |pool: &WorkerPool| Kind::ALL.iter().position(|kind| default_name(&settings.name, *kind) == pool.name_any());
    pools.sort_by_key(|pool| (rank(pool).unwrap_or(usize::MAX), pool.name_any()));
    for pool in pools {
        let resources = defaults::worker_resources(settings.environment, pool.spec.kind)
            .overridden_by(pool.spec.resources.as_ref());
        let jobs =
            pool.spec.concurrency.map_or_else(|| defaults::concurrency(pool.spec.kind).to_string(), |n| n.to_string());
        let gpu = pool.spec.gpu.as_ref().map_or_else(String::new, |gpu| format!(", {} GPUs a pod", gpu.count));
        rows.push(row(
            &pool.name_any(),
            pods(pool_replicas(&pool.spec)),
            &resources,
            format!("{}, {jobs} jobs a pod{gpu}", pool.spec.kind),
        ));
    }
    let bundled = bundled_components(settings);
    if !bundled.is_empty() {
        let names: Vec<_> =
            bundled.into_iter().map(|component| component.bundled().trim_start_matches("the ")).collect();
        rows.push(["besides".into(), "1 each".into(), String::new(), names.join(", ")]);
    }
    rows
}

fn pods(replicas: Replicas) -> String {
    match replicas {
        Replicas::Fixed(replicas) => replicas.to_string(),
        Replicas::Scaled(bounds) => format!("{} to {}", bounds.min(), bounds.max()),
    }
}

fn said(resources: &Resources) -> String {
    let list =
        |map: &Option<std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
            map.iter().flatten().map(|(name, quantity)| format!("{name} {}", quantity.0)).collect::<Vec<_>>().join(", ")
        };
    format!("{}; at most {}", list(&resources.requests), list(&resources.limits))
}

fn connections(out: &mut String, settings: &Settings, budget: &Budget) {
    let _ = writeln!(out, "  Database connections, {} in all", settings.max_connections);
    let mut rows = vec![["", "size", "overflow", "pods at most", "used at most"].map(str::to_owned)];
    for row in &budget.allocations {
        let numbers = [row.size, row.overflow, row.pods_at_most, row.used_at_most].map(|number| number.to_string());
        let [size, overflow, pods, used] = numbers;
        rows.push([row.role.to_string(), size, overflow, pods, used]);
    }
    let claimed: u32 = budget.allocations.iter().map(crate::spec::connection_budget::Allocation::total).sum();
    let reserve = settings.max_connections.saturating_sub(claimed.saturating_add(KEPT));
    rows.push([
        "kept for setup and administration".into(),
        KEPT.to_string(),
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
        "  Objects: {} made, {} changed, {} deleted, {} left as they are",
        count(Verb::Make),
        count(Verb::Change),
        count(Verb::Delete),
        count(Verb::Keep)
    );
    for change in planned.changes.iter().filter(|change| change.is_one()) {
        let rolls = if change.rolls { ": its pods are made anew" } else { "" };
        let _ = writeln!(out, "  {} {}{rolls}", change.verb, change.title);
        for field in &change.fields {
            let _ = writeln!(out, "      {field}");
        }
    }
}

/// Rows with columns of equal width.
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
