//! `alerts.md`: the alerts of platforms and of the operator.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::Value;
use switchyard_operator::{resources::alert_rules::groups, spec::monitoring::Thresholds};

use crate::{
    defaults::default_waits,
    markdown::{Page, WIDTH, sentence},
};

/// The page.
///
/// # Errors
/// The rules of the operator cannot be read.
pub fn page(root: &Path) -> anyhow::Result<Page> {
    let mut page = Page::new(
        "alerts.md",
        "Alerts",
        "This page lists every alert with its severity, its expression with the default thresholds, and its runbook.",
    );
    page.paragraph(
        "`spec.monitoring.alerts` of an [AnalyticsPlatform](analytics-platform.md) sets the thresholds of a platform. \
         An alert fires when its expression has been true for the time at \"Fires after\". It keeps firing for some time \
         afterwards, so that it does not flap. Every alert has the labels `severity`, `component` and `switchyard=\"true\"`. See \
         [monitor a platform](../how-to/monitor.md) and the [runbooks](../runbooks/README.md).",
    );
    let platform = groups(r#"platform!="""#, &Thresholds::default(), default_waits());
    let path = root.join("monitoring/operator-alerts.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let operator: Value = serde_norway::from_str(&text)?;
    let all = [platform.as_array(), operator["groups"].as_array()].into_iter().flatten().flatten();
    for group in all {
        let rules: Vec<&Value> =
            group["rules"].as_array().into_iter().flatten().filter(|rule| rule["alert"].is_string()).collect();
        if rules.is_empty() {
            continue;
        }
        page.heading(2, &format!("Group `{}`", group["name"].as_str().unwrap_or_default()));
        let mut last = "";
        for rule in rules {
            let name = rule["alert"].as_str().unwrap_or_default();
            if name != last {
                page.heading(3, &format!("`{name}`"));
                page.paragraph(&format!("Runbook: [{name}](../runbooks/{name}.md)"));
                last = name;
            }
            alert(&mut page, rule);
        }
    }
    Ok(page)
}

fn alert(page: &mut Page, rule: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = &rule["labels"];
    page.paragraph(&summary(rule));
    page.item(0, &format!("Severity: {}", text(&labels["severity"])));
    for (name, value) in
        [("Window", &labels["window"]), ("Fires after", &rule["for"]), ("Keeps firing for", &rule["keep_firing_for"])]
    {
        if let Some(value) = value.as_str() {
            page.item(0, &format!("{name}: {value}"));
        }
    }
    page.code("promql", &expression(&text(&rule["expr"])));
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The summary, with the names of labels in place of their values.
fn summary(rule: &Value) -> String {
    let mut text = rule["annotations"]["summary"].as_str().unwrap_or_default().to_owned();
    text = text.replace("{{ $labels.namespace }}/{{ $labels.platform }}", "the platform");
    while let Some((before, rest)) = text.split_once("{{ ") {
        let Some((inner, after)) = rest.split_once(" }}") else { break };
        let name = inner.strip_prefix("$labels.").unwrap_or("value");
        text = format!("{before}`${name}`{after}");
    }
    sentence(&capital(&text))
}

/// The words of a line of PromQL, which may also break after a comma between label matchers.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        if word.chars().count() <= WIDTH / 2 {
            words.push(word.to_owned());
            continue;
        }
        let mut rest = String::new();
        for part in word.split_inclusive(',') {
            rest.push_str(part);
            if rest.matches('"').count().is_multiple_of(2) {
                words.push(std::mem::take(&mut rest));
            }
        }
        words.extend((!rest.is_empty()).then_some(rest));
    }
    words
}

/// A PromQL expression with lines of at most 100 columns. PromQL may break at any space.
pub fn expression(text: &str) -> String {
    let mut lines = Vec::new();
    for whole in text.lines() {
        if whole.chars().count() <= WIDTH {
            lines.push(whole.to_owned());
            continue;
        }
        let indent: String = whole.chars().take_while(|char| *char == ' ').collect();
        let mut line = indent.clone();
        for word in words(whole) {
            if line.trim().is_empty() {
                line.push_str(&word);
            } else if line.chars().count() + 1 + word.chars().count() > WIDTH {
                lines.push(std::mem::replace(&mut line, format!("{indent}  {word}")));
            } else {
                line.push(' ');
                line.push_str(&word);
            }
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_expressions_break_at_spaces() {
        let text = format!("  {} > {}", "a".repeat(60), "b".repeat(60));
        assert_eq!(expression(&text), format!("  {} >\n    {}", "a".repeat(60), "b".repeat(60)));
    }
}
