//! What was given to plan: YAML or JSON documents, read strictly. Pure.

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

/// Documents by what they are; the others are left alone.
#[derive(Debug, Default)]
pub struct Documents {
    pub platforms: Vec<AnalyticsPlatform>,
    pub pools: Vec<WorkerPool>,
    /// Values by namespace, if it is said, and name.
    pub secrets: BTreeMap<(Option<String>, String), Values>,
}

impl Documents {
    /// Adds all documents of a text that is called `source`.
    ///
    /// # Errors
    /// When it is no YAML, or one of our kinds has a field that it does not know or lacks one that it needs: says which.
    pub fn add(&mut self, source: &str, text: &str) -> anyhow::Result<()> {
        for (at, document) in serde_norway::Deserializer::from_str(text).enumerate() {
            let place = || format!("{source}, document {}", at + 1);
            let value = Value::deserialize(document).with_context(place)?;
            self.add_value(value).with_context(place)?;
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
            ("switchyard.dev", "AnalyticsPlatform") => self.platforms.push(strictly(value)?),
            ("switchyard.dev", "WorkerPool") => self.pools.push(strictly(value)?),
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

    /// The values of a Secret of `namespace`, if it was given.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Values> {
        let said = (Some(namespace.to_owned()), name.to_owned());
        self.secrets.get(&said).or_else(|| self.secrets.get(&(None, name.to_owned())))
    }
}

/// Reads an object, and refuses fields that would be dropped.
fn strictly<K: Resource<DynamicType = ()> + DeserializeOwned + Serialize>(value: Value) -> anyhow::Result<K> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let what = format!("{} {name}", K::kind(&()));
    if name.is_empty() {
        bail!("{what}has no metadata.name");
    }
    let object: K = serde_json::from_value(value.clone()).with_context(|| what.clone())?;
    let kept = serde_json::to_value(&object)?;
    match dropped(&value["spec"], &kept["spec"], "spec") {
        Some(path) => bail!("{what}: there is no field {path}: is it misspelt?"),
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
    fn of_many_documents_ours_are_taken() {
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
    fn a_document_that_says_nonsense_is_refused_with_its_place() {
        let head = "apiVersion: switchyard.dev/v1alpha1\nkind: AnalyticsPlatform\nmetadata: {name: main}\n";
        for (text, words) in [
            (
                format!("{head}spec: {{environment: development, api: {{replica: 3}}}}"),
                "there is no field spec.api.replica",
            ),
            (format!("{head}spec: {{environment: test}}"), "unknown variant `test`"),
            (format!("{head}spec: {{}}"), "missing field `environment`"),
            ("a: [".to_owned(), "a.yaml, document 1"),
            ("apiVersion: switchyard.dev/v1\nkind: WorkerPool".to_owned(), "no version v1"),
            ("apiVersion: switchyard.dev/v1alpha1\nkind: Platform".to_owned(), "no kind Platform"),
            ("apiVersion: switchyard.dev/v1alpha1\nkind: WorkerPool\nspec: {}".to_owned(), "no metadata.name"),
        ] {
            let error = format!("{:#}", read(&text).expect_err("nonsense"));
            assert!(error.contains(words), "{error}");
        }
    }
}
