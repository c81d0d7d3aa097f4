//! Recording and alerting rules of a platform, from the shared template. Pure.

use std::sync::LazyLock;

use serde_json::Value;

use crate::spec::monitoring::Thresholds;

/// The template with placeholders for platform and thresholds. Its header documents them. It is
/// parsed once, since each reconciliation of a platform fills it in.
static TEMPLATE: LazyLock<Value> = LazyLock::new(|| {
    serde_norway::from_str(include_str!("../../../monitoring/alerts.yaml")).expect("the template is YAML")
});

/// Seconds that the oldest job of each lane may wait, most urgent lane first: its timeout of one
/// attempt.
pub type MaxWaits = [(&'static str, u64); 4];

/// The groups of rules for the platforms that the PromQL label matchers `selector` select.
///
/// A threshold cannot break out of the string that it is inserted into.
///
/// # Panics
/// If the template is not valid YAML; a test excludes that.
pub fn groups(selector: &str, thresholds: &Thresholds, waits: MaxWaits) -> Value {
    let mut groups = TEMPLATE["groups"].clone();
    fill(&mut groups, &values(selector, thresholds, waits));
    groups
}

/// The values of the placeholders.
fn values(selector: &str, thresholds: &Thresholds, waits: MaxWaits) -> Vec<(String, String)> {
    let Thresholds { latency, errors, cpu, memory, queue, budget, runbooks } = thresholds;
    let mut values = vec![
        ("$(platform)".to_owned(), selector.to_owned()),
        ("$(slo.budget)".to_owned(), budget.to_string()),
        ("$(runbooks)".to_owned(), runbooks.clone()),
        // Longer than a rollout takes to settle.
        ("$(for.warning)".to_owned(), "5m".to_owned()),
        ("$(for.critical)".to_owned(), "2m".to_owned()),
    ];
    for (name, levels) in [("latency", latency), ("errors", errors), ("cpu", cpu), ("memory", memory), ("queue", queue)]
    {
        values.push((format!("$({name}.warning)"), levels.warning.to_string()));
        values.push((format!("$({name}.critical)"), levels.critical.to_string()));
    }
    values.extend(waits.map(|(lane, seconds)| (format!("$(wait.{lane})"), seconds.to_string())));
    values
}

/// Replaces the placeholders in all strings of a document.
fn fill(document: &mut Value, values: &[(String, String)]) {
    match document {
        Value::String(text) => {
            for (placeholder, value) in values {
                if text.contains(placeholder.as_str()) {
                    *text = text.replace(placeholder.as_str(), value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, values)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, values)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::monitoring::{Levels, RUNBOOKS};

    const WAITS: MaxWaits = [("critical", 30), ("high", 120), ("normal", 300), ("low", 600)];

    #[test]
    fn all_placeholders_of_the_template_are_replaced() {
        let text = groups(r#"platform!="""#, &Thresholds::default(), WAITS).to_string();
        assert!(!text.contains("$("), "{text}");
        assert!(text.contains("{{ $labels.namespace }}"));
    }

    #[test]
    fn a_value_cannot_break_out_of_its_string() {
        let runbooks = "https://x/\n}: [\"'\t/".to_owned();
        let groups = groups("", &Thresholds { runbooks: runbooks.clone(), ..Thresholds::default() }, WAITS);
        let rule = &groups[1]["rules"][0]["annotations"]["runbook_url"];
        assert!(rule.as_str().unwrap().starts_with(&runbooks), "{rule}");
    }

    #[test]
    fn rules_select_only_their_platform_and_use_its_thresholds() {
        let queue = Levels { warning: 7.0, critical: 9.0 };
        let thresholds = Thresholds { queue, ..Thresholds::default() };
        let selector = r#"namespace="shop",platform="demo""#;
        let groups = groups(selector, &thresholds, WAITS);
        let rules: Vec<&Value> =
            groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
        assert!(rules.len() > 20);
        let alert = |name: &str| rules.iter().find(|rule| rule["alert"] == name).unwrap_or_else(|| panic!("no {name}"));
        for rule in &rules {
            let expr = rule["expr"].as_str().unwrap();
            assert!(expr.contains(selector), "{expr} selects every platform");
        }
        let all: String = rules.iter().map(|rule| rule["expr"].as_str().unwrap().to_owned() + "\n").collect();
        assert!(all.contains("> 7") && all.contains("> 9"), "{all}");
        assert!(alert("SwitchyardApiDown")["annotations"]["runbook_url"].as_str().unwrap().starts_with(RUNBOOKS));
    }
}
