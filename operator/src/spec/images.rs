use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

/// What an installation gives to the pods that the operator runs: container images, as full references, and priority classes.
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
    /// Image of ai workers with a GPU; without it they are given the other one, and run on the processor.
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
    /// When images are pulled: Always, IfNotPresent or Never.
    #[arg(long = "image-pull-policy", env = "SWITCHYARD_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub pull_policy: String,
    /// Where KEDA reaches the operator as an external scaler, for instance `switchyard-keda.switchyard-system.svc:9090`. With it, and where KEDA is
    /// installed, KEDA scales the pools in place of plain autoscalers.
    #[arg(long = "keda-scaler", env = "SWITCHYARD_KEDA_SCALER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keda_scaler: Option<String>,
    /// Beginning of the names of PriorityClasses that there are for the lanes, for instance `switchyard` of `switchyard-critical`.
    #[arg(long = "priority-classes", env = "SWITCHYARD_PRIORITY_CLASSES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_classes: Option<String>,
}

impl Images {
    /// The images of this release, as the chart names them when nobody says otherwise.
    pub fn of_release() -> Self {
        Self::of_variables(&BTreeMap::new())
    }

    /// The images that an operator with these environment variables runs; of this release where a variable is missing.
    pub fn of_variables(variables: &BTreeMap<String, String>) -> Self {
        let said = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        let image = |name: &str| {
            said(&format!("SWITCHYARD_IMAGE_{}", name.to_uppercase()))
                .unwrap_or_else(|| format!("switchyard/{name}:{}", env!("CARGO_PKG_VERSION")))
        };
        Self {
            api: image("api"),
            worker: image("worker"),
            ai: image("ai"),
            ai_cuda: said("SWITCHYARD_IMAGE_AI_CUDA"),
            postgresql: image("postgresql"),
            rabbitmq: image("rabbitmq"),
            redis: image("redis"),
            s3: image("s3"),
            keda_scaler: said("SWITCHYARD_KEDA_SCALER"),
            priority_classes: said("SWITCHYARD_PRIORITY_CLASSES"),
            pull_policy: said("SWITCHYARD_IMAGE_PULL_POLICY").unwrap_or_else(|| "IfNotPresent".into()),
        }
    }
}
