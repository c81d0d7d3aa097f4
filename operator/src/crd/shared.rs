//! What both custom resources use.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::crd::duration::Seconds;

/// A Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A share of the platform's database connections, for all pods of a workload together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Connections that the workload's pods may hold all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub size: Option<i32>,
    /// Connections on top of `size` for peaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub overflow: Option<i32>,
    /// How long work waits for a free connection before it is refused, such as `2s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<Seconds>,
    /// After how long PostgreSQL ends a statement, such as `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_timeout: Option<Seconds>,
}

/// What a container asks for and what it may use at most.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What a node must have free, such as `cpu: 250m` and `memory: 256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<BTreeMap<String, Quantity>>,
    /// What the container may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<BTreeMap<String, Quantity>>,
}

impl Resources {
    /// As a container has them.
    pub fn to_requirements(&self) -> ResourceRequirements {
        ResourceRequirements { requests: self.requests.clone(), limits: self.limits.clone(), claims: None }
    }

    /// These, with `over` taking precedence resource by resource.
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

/// Overrides for a pod template, merged over what the operator makes: objects field by field, containers, volumes, environment variables and
/// mounts by name, other lists as a whole. Kept as it is written, so that the CRD does not carry the whole schema of a pod.
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
