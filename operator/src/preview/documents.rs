//! The input of `plan`: YAML or JSON documents, parsed strictly. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    crd::{AnalyticsPlatform, WorkerPool},
    spec::secrets::Values,
};

/// Documents by kind. Other kinds are ignored.
#[derive(Debug, Default)]
pub struct Documents {
    pub platforms: Vec<AnalyticsPlatform>,
    pub pools: Vec<WorkerPool>,
    /// Values by namespace, if set, and name.
    pub secrets: BTreeMap<(Option<String>, String), Values>,
}

impl Documents {
    /// Adds all documents of `text`. `source` is its name in errors.
    ///
    /// # Errors
    /// The text is not YAML, or an object of `switchyard.dev` has an unknown field or lacks a
    /// required one.
    pub fn add(&mut self, source: &str, text: &str) -> anyhow::Result<()> {
        for (at, document) in serde_norway::Deserializer::from_str(text).enumerate() {
            let position = || format!("{source}, document {}", at + 1);
            let value = Value::deserialize(document).with_context(position)?;
            self.add_value(value).with_context(position)?;
        }
        Ok(())
    }

    fn add_value(&mut self, value: Value) -> anyhow::Result<()> {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        match (group, kind.as_str()) {
            ("", "List") => {
                for item in value["items"].as_array().cloned().unwrap_or_default() {
                    self.add_value(item)?;
                }
            }
            ("switchyard.dev", _) if version != "v1alpha1" => {
                bail!("there is no version {version} of switchyard.dev: use switchyard.dev/v1alpha1")
            }
            ("switchyard.dev", "AnalyticsPlatform") => self.platforms.push(strictly(&value)?),
            ("switchyard.dev", "WorkerPool") => self.pools.push(strictly(&value)?),
            ("switchyard.dev", other) => bail!("switchyard.dev has no kind {other}"),
            ("", "Secret") => self.add_secret(serde_json::from_value(value)?)?,
            _ => {}
        }
        Ok(())
    }

    fn add_secret(&mut self, secret: Secret) -> anyhow::Result<()> {
        let name = secret.metadata.name.context("a Secret has no metadata.name")?;
        let mut values: Values =
            secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
        values.extend(secret.string_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes())));
        self.secrets.insert((secret.metadata.namespace, name), values);
        Ok(())
    }

    /// The values of a Secret of `namespace`, if it is among the documents.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Values> {
        let key = (Some(namespace.to_owned()), name.to_owned());
        self.secrets.get(&key).or_else(|| self.secrets.get(&(None, name.to_owned())))
    }
}

/// Parses an object and refuses fields that parsing drops.
fn strictly<K: Resource<DynamicType = ()> + DeserializeOwned + Serialize>(value: &Value) -> anyhow::Result<K> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let what = format!("{} {name}", K::kind(&()));
    if name.is_empty() {
        bail!("{what}has no metadata.name");
    }
    let object: K = serde_json::from_value(value.clone()).with_context(|| what.clone())?;
    let kept = serde_json::to_value(&object)?;
    match dropped(&value["spec"], &kept["spec"], "spec") {
        Some(path) => bail!("{what}: unknown field {path}"),
        None => Ok(object),
    }
}

/// The path of the first field of `given` that is not in `kept`.
fn dropped(given: &Value, kept: &Value, path: &str) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match kept.get(key) {
                Some(kept) => dropped(value, kept, &path),
                None => (!value.is_null()).then_some(path),
            }
        }),
        (Value::Array(given), Value::Array(kept)) => given
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(at, (given, kept))| dropped(given, kept, &format!("{path}[{at}]"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Documents> {
        let mut documents = Documents::default();
        documents.add("a.yaml", text)?;
        Ok(documents)
    }

    #[test]
    fn documents_of_other_kinds_are_ignored() {
        let documents = read(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
             apiVersion: switchyard.dev/v1alpha1\nkind: AnalyticsPlatform\nmetadata: {name: main}\nspec: {environment: development}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {uri: x}\ndata: {other: eA==}\n",
        )
        .expect("documents");
        assert_eq!((documents.platforms.len(), documents.pools.len()), (1, 0));
        let secret = documents.secret("shop", "db").expect("a Secret");
        assert_eq!((secret["uri"].as_slice(), secret["other"].as_slice()), (b"x".as_slice(), b"x".as_slice()));
    }

    #[test]
    fn a_malformed_document_is_refused_with_its_position() {
        let head = "apiVersion: switchyard.dev/v1alpha1\nkind: AnalyticsPlatform\nmetadata: {name: main}\n";
        for (text, words) in [
            (
                format!("{head}spec: {{environment: development, api: {{replica: 3}}}}"),
                "unknown field spec.api.replica",
            ),
            (format!("{head}spec: {{environment: test}}"), "unknown variant `test`"),
            (format!("{head}spec: {{}}"), "missing field `environment`"),
            ("a: [".to_owned(), "a.yaml, document 1"),
            ("apiVersion: switchyard.dev/v1\nkind: WorkerPool".to_owned(), "no version v1"),
            ("apiVersion: switchyard.dev/v1alpha1\nkind: Platform".to_owned(), "no kind Platform"),
            ("apiVersion: switchyard.dev/v1alpha1\nkind: WorkerPool\nspec: {}".to_owned(), "no metadata.name"),
        ] {
            let error = format!("{:#}", read(&text).expect_err("malformed"));
            assert!(error.contains(words), "{error}");
        }
    }
}
