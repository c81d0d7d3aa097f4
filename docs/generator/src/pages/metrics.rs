//! `metrics.md`: the metrics of every process.

use switchyard_operator::{
    resources::alert_rules::groups,
    spec::{
        monitoring::Thresholds,
        names::{DESIRED_REPLICAS_METRIC, DESIRED_REPLICAS_POOL_LABEL},
    },
};

use crate::{
    defaults::default_waits,
    markdown::{Page, codes, sentence},
    metric::{Metric, Metrics, of_registry, of_text},
    pages::alerts::expression,
};

/// The page.
///
/// # Errors
/// A metric has no sample.
pub fn page() -> anyhow::Result<Page> {
    let api = of_registry(&switchyard_api::reference::registry())?;
    let worker = of_registry(&switchyard_worker::reference::registry())?;
    let ai = of_registry(&switchyard_ai::reference::registry())?;
    let operator = of_text(&switchyard_operator::reference::metrics().render())?;

    let mut page = Page::new(
        "metrics.md",
        "Metrics",
        "This page lists every metric that a program exports, with its type and its labels, and every series that the \
         rules record.",
    );
    page.paragraph(
        "Each process serves `/metrics` on its operations port, 8081. Prometheus adds the labels `namespace`, \
         `platform`, `workload` and `pod` to the metrics of API and workers. No metric names a tenant, a user or a \
         job. A histogram has the series `_bucket`, `_sum` and `_count`. See [monitor a \
         platform](../how-to/monitor.md) and [alerts](alerts.md).",
    );
    let everywhere = |name: &String| api.contains_key(name) && worker.contains_key(name) && ai.contains_key(name);
    let in_workers = |name: &String| worker.contains_key(name) && ai.contains_key(name) && !everywhere(name);

    section(
        &mut page,
        "API and workers",
        "Every process of a platform exports these.",
        &everywhere,
        &[&api, &worker, &ai],
    );
    section(
        &mut page,
        "API",
        "`switchyard-api` exports these. Those about lanes, dead jobs, workers and sessions come from the database and \
         are the same in each process. Use the highest value: `max by (namespace, platform)`.",
        &|name| api.contains_key(name) && !everywhere(name),
        &[&api],
    );
    section(&mut page, "Workers", "Every worker exports these.", &in_workers, &[&worker, &ai]);
    section(
        &mut page,
        "Workers of kind general, cdn and discovery",
        "`switchyard-worker` exports these. Only kind general calls the profile source, and only kind cdn handles \
         images.",
        &|name| worker.contains_key(name) && !everywhere(name) && !in_workers(name),
        &[&worker],
    );
    section(
        &mut page,
        "Workers of kind ai",
        "`switchyard-ai` exports these.",
        &|name| ai.contains_key(name) && !everywhere(name) && !in_workers(name),
        &[&ai],
    );
    section(
        &mut page,
        "Operator",
        "`switchyard-operator` exports these. Every instance exports those of platforms and pools, standbys too. Only \
         the leader knows the health scores.",
        &|name| operator.contains_key(name),
        &[&operator],
    );
    page.heading(2, "External metric");
    page.paragraph("The operator serves one metric of `external.metrics.k8s.io/v1beta1`, not to Prometheus.");
    page.item(
        0,
        &format!(
            "`{DESIRED_REPLICAS_METRIC}`: the number of pods that a scaled pool needs. The label \
             `{DESIRED_REPLICAS_POOL_LABEL}` selects the pool."
        ),
    );
    recorded(&mut page);
    Ok(page)
}

fn section(page: &mut Page, title: &str, intro: &str, is_listed: &dyn Fn(&String) -> bool, processes: &[&Metrics]) {
    page.heading(2, title);
    page.paragraph(intro);
    let Some((first, others)) = processes.split_first() else { return };
    for (name, metric) in first.iter().filter(|(name, _)| is_listed(name)) {
        let mut metric = metric.clone();
        for other in others.iter().filter_map(|process| process.get(name)) {
            for (label, values) in &mut metric.labels {
                let more = other.labels.iter().filter(|(name, _)| name == label).flat_map(|(_, values)| values.clone());
                values.extend(more);
            }
        }
        item(page, name, &metric);
    }
}

fn item(page: &mut Page, name: &str, metric: &Metric) {
    page.item(0, &format!("`{name}` ({}): {}", metric.kind, sentence(&metric.help)));
    for (label, values) in &metric.labels {
        let values = match label.as_str() {
            // One of its values stands for all.
            "route" => "the template of the route, or `unmatched`".to_owned(),
            "version" => "any version".to_owned(),
            _ if values.is_empty() => "any".to_owned(),
            _ => codes(values),
        };
        page.item(1, &format!("Label `{label}`: {values}"));
    }
}

fn recorded(page: &mut Page) {
    page.heading(2, "Recorded series");
    page.paragraph(
        "The rules of a platform record these series. The part before the first colon names the labels. The \
         expressions are those for all platforms.",
    );
    let groups = groups(r#"platform!="""#, &Thresholds::default(), default_waits());
    let rules =
        groups.as_array().into_iter().flatten().flat_map(|group| group["rules"].as_array().into_iter().flatten());
    for rule in rules {
        if let (Some(name), Some(expr)) = (rule["record"].as_str(), rule["expr"].as_str()) {
            page.heading(3, &format!("`{name}`"));
            page.code("promql", &expression(expr));
        }
    }
}
