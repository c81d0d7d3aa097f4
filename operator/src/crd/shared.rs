//! Types of both custom resources.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::crd::duration::Seconds;

/// Reference to a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Database connections of all pods of a workload together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Number of connections that may stay open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub size: Option<i32>,
    /// Additional connections for peaks. They are closed when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub overflow: Option<i32>,
    /// How long work waits for a free connection before it fails, for example `2s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Seconds>,
    /// Time limit of a statement in PostgreSQL, for example `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_timeout: Option<Seconds>,
}

/// Resource requests and limits of a container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Resource requests, for example `cpu: 250m` and `memory: 256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<BTreeMap<String, Quantity>>,
    /// Resource limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<BTreeMap<String, Quantity>>,
}

impl Resources {
    /// The same as a field of a container.
    pub fn to_requirements(&self) -> ResourceRequirements {
        ResourceRequirements { requests: self.requests.clone(), limits: self.limits.clone(), claims: None }
    }

    /// Merges `over` over these, resource by resource.
    pub fn overridden_by(&self, over: Option<&Self>) -> Self {
        let merge = |base: &Option<BTreeMap<String, Quantity>>, over: Option<&BTreeMap<String, Quantity>>| {
            let mut all = base.clone().unwrap_or_default();
            all.extend(over.cloned().unwrap_or_default());
            (!all.is_empty()).then_some(all)
        };
        Self {
            requests: merge(&self.requests, over.and_then(|o| o.requests.as_ref())),
            limits: merge(&self.limits, over.and_then(|o| o.limits.as_ref())),
        }
    }
}

/// Overrides of a pod template.
///
/// Objects are merged field by field; containers, volumes, environment variables and mounts by
/// name. Other lists are replaced. The schema keeps unknown fields, so that the CRD does not
/// contain the schema of a pod.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodTemplate(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for PodTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PodTemplate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}
