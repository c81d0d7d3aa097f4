//! `chart-values.md`: the values of the chart, from the comments of values.yaml and its schema.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::{
    markdown::{Page, codes},
    schema::{constraint, kind},
};

/// The page.
///
/// # Errors
/// A value has no comment, or values.yaml and values.schema.json disagree.
pub fn page(root: &Path) -> anyhow::Result<Page> {
    let read = |name: &str| {
        let path = root.join("charts/switchyard").join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let text = read("values.yaml")?;
    let values: Value = serde_norway::from_str(&text)?;
    let schema: Value = serde_json::from_str(&read("values.schema.json")?)?;
    let comments = comments(&text);

    let mut page = Page::new(
        "chart-values.md",
        "Chart values",
        "This page lists every value of the Helm chart `charts/switchyard`, with its type, its default and its \
         meaning.",
    );
    page.paragraph(
        "The chart refuses unknown values. It installs the operator. Platforms are custom resources. See [run in \
         production](../how-to/production.md) and [use GitOps](../how-to/gitops.md).",
    );
    let mut source = Source { schema: &schema, comments: &comments };
    source.object(&mut page, "", &values, &schema)?;
    Ok(page)
}

struct Source<'a> {
    schema: &'a Value,
    comments: &'a BTreeMap<String, String>,
}

impl Source<'_> {
    /// Lists the values of an object: those without values of their own first.
    fn object(&mut self, page: &mut Page, path: &str, values: &Value, schema: &Value) -> anyhow::Result<()> {
        let map = values.as_object().with_context(|| format!("{path} is no object"))?;
        let known =
            schema["properties"].as_object().with_context(|| format!("{path} has no properties in the schema"))?;
        // Helm adds `global` to the values of every chart.
        if let Some(name) = known.keys().find(|&name| name != "global" && !map.contains_key(name)) {
            bail!("values.schema.json has {path}{name}, which values.yaml lacks");
        }
        let is_group = |name: &String| known.get(name).is_some_and(|schema| schema["properties"].is_object());
        if path.is_empty() {
            page.heading(2, "Top level");
        }
        for (name, value) in map.iter().filter(|(name, _)| !is_group(name)) {
            let schema = known.get(name).with_context(|| format!("values.schema.json lacks {path}{name}"))?;
            self.value(page, &format!("{path}{name}"), value, self.resolved(schema))?;
        }
        for (name, value) in map.iter().filter(|(name, _)| is_group(name)) {
            let full = format!("{path}{name}");
            page.heading(2, &format!("`{full}`"));
            page.paragraph(self.comment(&full)?);
            self.object(page, &format!("{full}."), value, &known[name])?;
        }
        Ok(())
    }

    fn value(&self, page: &mut Page, path: &str, value: &Value, schema: &Value) -> anyhow::Result<()> {
        let alternatives = schema["oneOf"].as_array();
        let schema = alternatives.and_then(|all| all.last()).map_or(schema, |last| self.resolved(last));
        let words =
            if schema["enum"].is_array() && schema["type"].is_null() { "string".to_owned() } else { kind(schema) };
        ensure!(matches(&words, value), "{path}: the default {value} is no {words}, which values.schema.json demands");
        let about: Vec<String> = [words, constraint(schema)].into_iter().filter(|one| !one.is_empty()).collect();
        page.item(0, &format!("`{path}` ({}): {}", about.join(", "), self.comment(path)?));
        let default = match value {
            Value::String(text) if text.is_empty() => "empty".to_owned(),
            Value::String(text) => codes([text]),
            other => codes([other.to_string()]),
        };
        page.item(1, &format!("Default: {default}"));
        Ok(())
    }

    fn comment(&self, path: &str) -> anyhow::Result<&str> {
        let found = self.comments.get(path).filter(|comment| !comment.is_empty());
        found.map(String::as_str).with_context(|| format!("charts/switchyard/values.yaml: no comment above {path}"))
    }

    /// The schema that a reference names.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/definitions/"));
        name.map_or(schema, |name| &self.schema["definitions"][name])
    }
}

/// Whether `value` is of the type that `words` name.
fn matches(words: &str, value: &Value) -> bool {
    match value {
        Value::String(_) => words == "string",
        Value::Bool(_) => words == "boolean",
        Value::Number(_) => matches!(words, "integer" | "number"),
        Value::Array(_) => words.starts_with("list"),
        Value::Object(_) => words.starts_with("map") || words == "object",
        Value::Null => false,
    }
}

/// The comment above each value, by its path. A comment belongs to the next line without an empty
/// line in between.
fn comments(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(words) = trimmed.strip_prefix('#') {
            comment.push(words.trim().to_owned());
            continue;
        }
        if let Some((name, _)) = trimmed.split_once(':') {
            path.retain(|(depth, _)| *depth < indent);
            path.push((indent, name.to_owned()));
            let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
            found.insert(names.join("."), comment.join(" "));
        }
        comment.clear();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_belong_to_the_next_value() {
        let found = comments("# One\n# two.\na:\n  # Three.\n  b: 1\n\n# Lost.\n\nc: 2\n");
        let expected = [("a", "One two."), ("a.b", "Three."), ("c", "")];
        let found: Vec<(&str, &str)> = found.iter().map(|(path, comment)| (path.as_str(), comment.as_str())).collect();
        assert_eq!(found, expected);
    }
}
