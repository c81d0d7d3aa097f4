use clap::Args;
use serde::Serialize;

/// Container images that the operator runs, as full references.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize)]
pub struct Images {
    /// Image of the API and of the set-up Job.
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
}
