//! The pod template of a pool's Deployment.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use switchyard_contract::{Config, Kind};

use crate::{
    controllers::{
        platform::{
            build::workloads::{merged, priority},
            credentials::Credentials,
        },
        worker_pool::build::gpu::{scheduling, with_provider_check},
    },
    crd::WorkerPoolSpec,
    resources::{
        config_map::document,
        pod::{self, Env, Pod, SecretMount},
        probes::Probes,
    },
    spec::{
        defaults,
        images::Images,
        names,
        pool::{container_resources, lanes},
        settings::Settings,
    },
};

/// Labels of the Deployment and the pods of the pool `name`.
pub fn labels(platform: &str, name: &str, kind: Kind) -> BTreeMap<String, String> {
    let mut labels = names::labels(platform, "worker");
    labels.extend([(names::POOL_LABEL.to_owned(), name.to_owned()), (names::KIND_LABEL.to_owned(), kind.to_string())]);
    labels
}

/// The template with the user's overrides. `config` is the content of the ConfigMap `name`.
///
/// # Errors
/// If `spec.podTemplate` yields no valid pod template. The message names the field.
pub fn pod_template(
    name: &str,
    spec: &WorkerPoolSpec,
    settings: &Settings,
    credentials: &Credentials,
    config: &Config,
    images: &Images,
) -> Result<PodTemplateSpec, String> {
    let lanes = lanes(spec);
    let longest = lanes.iter().map(|lane| settings.lanes.get(*lane).timeout_seconds).max().unwrap_or_default();
    let labels = labels(&settings.name, name, spec.kind);
    let template = pod::template(
        &Pod {
            env: env(spec),
            probes: Probes::Operations,
            resources: container_resources(settings, spec),
            config: Some((name.to_owned(), names::digest([document(config).as_bytes()]))),
            secrets: secrets(spec.kind, credentials),
            grace_seconds: defaults::grace_seconds(settings.environment, longest),
            spread: defaults::is_redundant(settings.environment),
            priority: lanes.first().and_then(|lane| priority(settings, images, *lane)),
            ..Pod::new(names::pool_selector(&settings.name, name), labels.clone(), "worker", image(spec, images))
        },
        images,
    );
    let template = if spec.gpu.is_some() { with_provider_check(template) } else { template };
    // No override changes a label: NetworkPolicies select pods by their kind.
    let template = pod::overridden(template, spec.gpu.as_ref().map(scheduling).as_ref(), &labels)?;
    pod::overridden(template, spec.pod_template.as_ref(), &labels)
}

fn image(spec: &WorkerPoolSpec, images: &Images) -> String {
    match (spec.kind, &spec.gpu) {
        (Kind::Ai, Some(_)) => images.ai_cuda.as_ref().unwrap_or(&images.ai).clone(),
        (Kind::Ai, None) => images.ai.clone(),
        (Kind::General | Kind::Cdn | Kind::Discovery, _) => images.worker.clone(),
    }
}

fn env(spec: &WorkerPoolSpec) -> BTreeMap<&'static str, Env> {
    let gpu = spec.gpu.as_ref().map(|_| ("SWITCHYARD_MODEL_PROVIDER", Env::Value("cuda".to_owned())));
    [("SWITCHYARD_MEMORY_LIMIT_BYTES", Env::MemoryLimit)].into_iter().chain(gpu).collect()
}

/// Each kind mounts only the keys that its jobs need.
fn secrets(kind: Kind, credentials: &Credentials) -> Vec<SecretMount> {
    let optional = match kind {
        Kind::General => credentials.profile_source.clone(),
        Kind::Cdn => Some(credentials.object_store.clone()),
        Kind::Discovery | Kind::Ai => None,
    };
    let mounts = [
        Some(credentials.database.clone()),
        credentials.role(kind.role()),
        Some(credentials.broker.clone()),
        Some(credentials.cache.clone()),
        optional,
    ];
    merged(mounts.into_iter().flatten())
}
