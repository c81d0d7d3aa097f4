//! Container images and other installation-wide settings of the pods.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

/// Settings of an installation for the pods that the operator runs: container images, as full
/// references, and priority classes.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize)]
pub struct Images {
    /// Image of the API and of the setup Job.
    #[arg(long = "image-api", env = "SWITCHYARD_IMAGE_API")]
    pub api: String,
    /// Image of general, cdn and discovery workers.
    #[arg(long = "image-worker", env = "SWITCHYARD_IMAGE_WORKER")]
    pub worker: String,
    /// Image of ai workers.
    #[arg(long = "image-ai", env = "SWITCHYARD_IMAGE_AI")]
    pub ai: String,
    /// Image of ai workers with a GPU. If not set, they use the other image and run on the CPU.
    #[arg(long = "image-ai-cuda", env = "SWITCHYARD_IMAGE_AI_CUDA")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ai_cuda: Option<String>,
    /// Image of the bundled PostgreSQL.
    #[arg(long = "image-postgresql", env = "SWITCHYARD_IMAGE_POSTGRESQL")]
    pub postgresql: String,
    /// Image of the bundled RabbitMQ.
    #[arg(long = "image-rabbitmq", env = "SWITCHYARD_IMAGE_RABBITMQ")]
    pub rabbitmq: String,
    /// Image of the bundled Redis.
    #[arg(long = "image-redis", env = "SWITCHYARD_IMAGE_REDIS")]
    pub redis: String,
    /// Image of the bundled S3 server.
    #[arg(long = "image-s3", env = "SWITCHYARD_IMAGE_S3")]
    pub s3: String,
    /// Image pull policy: Always, IfNotPresent or Never.
    #[arg(long = "image-pull-policy", env = "SWITCHYARD_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub pull_policy: String,
    /// Address of the external scaler of the operator for KEDA, for example
    /// `switchyard-keda.switchyard-system.svc:9090`. If set and KEDA is installed, KEDA scales the
    /// pools.
    #[arg(long = "keda-scaler", env = "SWITCHYARD_KEDA_SCALER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keda_scaler: Option<String>,
    /// Prefix of the PriorityClasses of the lanes, for example `switchyard` for
    /// `switchyard-critical`.
    #[arg(long = "priority-classes", env = "SWITCHYARD_PRIORITY_CLASSES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_classes: Option<String>,
}

impl Images {
    /// The images of this release, the defaults of the chart.
    pub fn of_release() -> Self {
        Self::of_variables(&BTreeMap::new())
    }

    /// The images of an operator with these environment variables. A missing variable means the
    /// image of this release.
    pub fn of_variables(variables: &BTreeMap<String, String>) -> Self {
        let value = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        let image = |name: &str| {
            value(&format!("SWITCHYARD_IMAGE_{}", name.to_uppercase()))
                .unwrap_or_else(|| format!("switchyard/{name}:{}", env!("CARGO_PKG_VERSION")))
        };
        Self {
            api: image("api"),
            worker: image("worker"),
            ai: image("ai"),
            ai_cuda: value("SWITCHYARD_IMAGE_AI_CUDA"),
            postgresql: image("postgresql"),
            rabbitmq: image("rabbitmq"),
            redis: image("redis"),
            s3: image("s3"),
            keda_scaler: value("SWITCHYARD_KEDA_SCALER"),
            priority_classes: value("SWITCHYARD_PRIORITY_CLASSES"),
            pull_policy: value("SWITCHYARD_IMAGE_PULL_POLICY").unwrap_or_else(|| "IfNotPresent".into()),
        }
    }
}
