//! Reads the metrics of a registry from its OpenMetrics text.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use prometheus_client::{encoding::text::encode, registry::Registry};

/// A metric as a process exports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    pub help: String,
    /// The values that occur of each label, in the order of the labels. A label without values may
    /// have any.
    pub labels: Vec<(String, BTreeSet<String>)>,
}

/// Metrics by their exported name: with the unit, and with `_total` for a counter.
pub type Metrics = BTreeMap<String, Metric>;

/// The metrics of `registry`.
///
/// # Errors
/// A registered metric has no series, so that its labels are unknown.
pub fn of_registry(registry: &Registry) -> anyhow::Result<Metrics> {
    let mut text = String::new();
    encode(&mut text, registry).context("a metric cannot be encoded")?;
    let metrics = of_text(&text)?;
    // A family without a series is not encoded. Its descriptor shows in the debug output.
    for registered in format!("{registry:?}").split("Descriptor { name: \"").skip(1) {
        let name = registered.split('"').next().unwrap_or_default();
        let unit = registered.split("unit: ").nth(1).unwrap_or_default();
        let unit = unit.strip_prefix("Some(").and_then(|unit| unit.split(')').next()).unwrap_or_default();
        let end = if unit.is_empty() { name.to_owned() } else { format!("{name}_{}", unit.to_lowercase()) };
        if !metrics.keys().any(|known| known.strip_suffix("_total").unwrap_or(known).ends_with(&end)) {
            bail!("metric {name} has no series: create one in the function `sample` of its struct");
        }
    }
    Ok(metrics)
}

/// The metrics of an OpenMetrics text.
///
/// # Errors
/// A metric has no series, so that its labels are unknown.
pub fn of_text(text: &str) -> anyhow::Result<Metrics> {
    let mut metrics = Metrics::new();
    let mut help = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some((name, words)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help.insert(name.to_owned(), words.trim_end_matches('.').to_owned());
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let exported = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            let help = help.get(name).cloned().unwrap_or_default();
            metrics.insert(exported.clone(), Metric { kind: kind.to_owned(), help, labels: Vec::new() });
            current = Some((exported, false));
        } else if !line.starts_with('#')
            && let Some((name, has_series)) = &mut current
        {
            *has_series = true;
            let metric = metrics.get_mut(name.as_str()).context("a metric of its type")?;
            for (label, value) in labels(line) {
                note(metric, label, value);
            }
        }
        if (line.starts_with("# HELP ") || line == "# EOF")
            && let Some((name, false)) = current.take()
        {
            bail!("metric {name} has no series: create one in its sample");
        }
    }
    Ok(metrics)
}

fn note(metric: &mut Metric, label: &str, value: &str) {
    if label == "le" {
        return;
    }
    let values = match metric.labels.iter_mut().find(|(name, _)| name == label) {
        Some((_, values)) => values,
        None => {
            metric.labels.push((label.to_owned(), BTreeSet::new()));
            &mut metric.labels.last_mut().expect("the label that was added").1
        }
    };
    if !value.is_empty() {
        values.insert(value.to_owned());
    }
}

/// The labels of a sample. No value contains a quotation mark or a comma.
fn labels(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let inner = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inner, _)| inner);
    inner.split(',').filter_map(|label| {
        let (name, value) = label.split_once('=')?;
        Some((name, value.trim_matches('"')))
    })
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, family::Family};

    use super::*;

    #[test]
    fn names_are_those_that_are_exported() {
        let mut registry = Registry::default();
        let counter = Family::<[(&str, &str); 1], Counter>::default();
        drop(counter.get_or_create(&[("kind", "ai")]));
        registry.register("calls", "Calls", counter);
        let metrics = of_registry(&registry).unwrap();
        let found = &metrics["calls_total"];
        assert_eq!((found.kind.as_str(), found.help.as_str()), ("counter", "Calls"));
        assert_eq!(found.labels, [("kind".to_owned(), BTreeSet::from(["ai".to_owned()]))]);
    }

    #[test]
    fn metric_without_a_series_is_an_error() {
        let mut registry = Registry::default();
        registry.register("calls", "Calls", Family::<[(&str, &str); 1], Counter>::default());
        let error = of_registry(&registry).unwrap_err();
        assert!(error.to_string().contains("calls"), "{error}");
    }
}
