//! `analytics-platform.md` and `worker-pool.md`: the fields of the custom resources.

use serde_json::Value;

use crate::{
    defaults::{Defaults, platform, pool},
    markdown::{Page, sentence},
    schema::{Field, constraint, definition, description, duration_rule, fields, kind, object, rules},
};

/// The page of an AnalyticsPlatform.
///
/// # Errors
/// The kind has no definition.
pub fn analytics_platform() -> anyhow::Result<Page> {
    let page = Page::new(
        "analytics-platform.md",
        "AnalyticsPlatform",
        "This page lists every field of the custom resource AnalyticsPlatform.",
    );
    let links = "See [run in production](../how-to/production.md), the [presets](presets.md) side by side, and the \
                 [conditions](conditions.md) in its status.";
    resource(page, "analyticsplatforms", links, &platform()?)
}

/// The page of a WorkerPool.
///
/// # Errors
/// The kind has no definition.
pub fn worker_pool() -> anyhow::Result<Page> {
    let page =
        Page::new("worker-pool.md", "WorkerPool", "This page lists every field of the custom resource WorkerPool.");
    let links = "See [scale a platform](../how-to/scale.md), [use GPUs](../how-to/gpu.md), and the \
                 [conditions](conditions.md) in its status.";
    resource(page, "workerpools", links, &pool()?)
}

fn resource(mut page: Page, plural: &str, links: &str, defaults: &Defaults) -> anyhow::Result<Page> {
    let definition = definition(plural)?;
    let (names, version) = (&definition["spec"]["names"], &definition["spec"]["versions"][0]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let schema = &version["schema"]["openAPIV3Schema"];
    page.paragraph(&format!("{} {links}", sentence(&description(schema))));
    page.item(0, &format!("API version: `{}/{}`", text(&definition["spec"]["group"]), text(&version["name"])));
    page.item(0, &format!("Kind: `{}`", text(&names["kind"])));
    page.item(0, &format!("Scope: {}", text(&definition["spec"]["scope"])));
    let short = names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str);
    page.item(0, &format!("Short name: `{}`", short.collect::<Vec<_>>().join("`, `")));
    if version["subresources"]["scale"].is_object() {
        page.item(0, "Subresource `scale`: `kubectl scale` sets `spec.replicas`");
    }
    for (rule, message) in rules(schema) {
        validation(&mut page, 0, &rule, &message);
    }
    page.heading(2, "Columns of `kubectl get`");
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let wide = if column["priority"].as_i64().unwrap_or(0) > 0 { ", with `-o wide`" } else { "" };
        let about = match text(&column["description"]).as_str() {
            "" => "Time since the creation".to_owned(),
            about => about.to_owned(),
        };
        page.item(0, &format!("{}: {}{wide}", text(&column["name"]), about.trim_end_matches('.')));
    }
    page.heading(2, "Spec");
    page.paragraph("An optional field without a default has no effect if it is not set. Required fields come first.");
    if let Some((rule, message)) = durations(schema) {
        page.paragraph(&format!("A duration is a string that {message}. Its rule is `{rule}`."));
    }
    fields_of(&mut page, "spec", &schema["properties"]["spec"], Some(defaults));
    page.heading(2, "Status");
    page.paragraph("The operator writes the status.");
    fields_of(&mut page, "status", &schema["properties"]["status"], None);
    Ok(page)
}

/// The section of an object, then those of the objects in it.
fn fields_of(page: &mut Page, path: &str, schema: &Value, defaults: Option<&Defaults>) {
    page.heading(3, &format!("`{path}`"));
    page.paragraph(&sentence(&description(schema)));
    let Some(inner) = object(schema) else { return };
    for (rule, message) in rules(inner) {
        validation(page, 0, &rule, &message);
    }
    for field in fields(inner) {
        field_of(page, &format!("{path}.{}", field.name), field, defaults);
    }
    for field in fields(inner).into_iter().filter(|field| object(field.schema).is_some()) {
        let list = if field.schema["type"] == "array" { "[]" } else { "" };
        fields_of(page, &format!("{path}.{}{list}", field.name), field.schema, defaults);
    }
}

fn field_of(page: &mut Page, path: &str, field: Field<'_>, defaults: Option<&Defaults>) {
    let schema = field.schema;
    let mut about = vec![kind(schema)];
    if defaults.is_some() {
        about.push(if field.is_required { "required".to_owned() } else { "optional".to_owned() });
    }
    about.push(constraint(schema));
    about.retain(|one| !one.is_empty());
    page.item(0, &format!("`{}` ({}): {}", field.name, about.join(", "), sentence(&description(schema))));
    if object(schema).is_some() {
        let list = if schema["type"] == "array" { "[]" } else { "" };
        page.item(1, &format!("Fields: [`{path}{list}`](#{})", anchor(path)));
    } else if let (Some(defaults), false) = (defaults, field.is_required) {
        page.item(1, &format!("Default: {}", defaults.get(path).map_or("none", String::as_str)));
    }
    if object(schema).is_none() && duration_rule(schema).is_none() {
        for (rule, message) in rules(schema) {
            validation(page, 1, &rule, &message);
        }
    }
}

/// The rule and the message of the first duration in a schema.
fn durations(schema: &Value) -> Option<(String, String)> {
    duration_rule(schema).or_else(|| match schema {
        Value::Object(map) => map.values().find_map(durations),
        Value::Array(list) => list.iter().find_map(durations),
        _ => None,
    })
}

fn validation(page: &mut Page, depth: usize, rule: &str, message: &str) {
    page.item(depth, &format!("Rule `{rule}`: {}", sentence(message)));
}

/// The anchor that GitHub gives the heading of a path.
fn anchor(path: &str) -> String {
    path.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}
