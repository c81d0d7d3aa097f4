//! From a pool, its platform and what is there: the Deployment that should be there. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec, Toleration};
use switchyard_contract::{ConnectionPool, Kind, Workload};

use crate::{
    controllers::{
        platform::{
            build::workloads::{config, merged, priority, set_up, starting_replicas},
            credentials::Credentials,
        },
        worker_pool::{
            execution_provider::PROVIDER_CHECK,
            input::PoolInput,
            validate::{Blocked, Grant, ValidPool},
        },
    },
    crd::{Gpu, PodTemplate, WorkerPoolSpec},
    kubernetes::{
        kinds::pool_kinds,
        prune::{ObjectId, orphans},
    },
    resources::{
        config_map::{config_map, document},
        deployment::deployment,
        manifest::Manifest,
        pod::{self, Env, Pod, Probes},
        pod_disruption_budget::pod_disruption_budget,
        scaled_object,
    },
    spec::{
        connection_budget::Refusal,
        defaults,
        images::Images,
        names,
        pool::{container_resources, lanes, pool_replicas},
        replicas::Replicas,
        settings::Settings,
    },
};

/// How far a pool has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// There is no such platform.
    NoPlatform,
    /// The platform is not set up for what its spec and Secrets say now.
    WaitingForPlatform,
    /// The platform is paused.
    Paused,
    /// The connection budget has no room.
    OverBudget(Refusal),
    /// The spec makes no pods, with why.
    Refused(String),
    /// The Deployment is as the spec says.
    Running,
}

/// What should be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub stage: Stage,
    /// Objects to apply, in this order.
    pub apply: Vec<Manifest>,
    /// Whether something else decides on the Deployment's replicas.
    pub scaled: bool,
    /// Where the rest of the Deployment has to stay as it is: replicas that it should have nevertheless.
    pub only_replicas: Option<i32>,
    /// Replicas that the operator is to set in an autoscaler's stead.
    pub step: Option<i32>,
    /// Connections of one pod.
    pub connections: Option<u32>,
    /// Objects that are no longer wanted.
    pub delete: Vec<ObjectId>,
}

impl Plan {
    const fn stopped(stage: Stage) -> Self {
        Self {
            stage,
            apply: Vec::new(),
            scaled: false,
            only_replicas: None,
            step: None,
            connections: None,
            delete: Vec::new(),
        }
    }
}

/// The plan for `valid`.
pub fn plan(valid: &ValidPool, images: &Images) -> Plan {
    let input = &valid.input;
    let grant = match &valid.grant {
        Ok(grant) => grant,
        Err(Blocked::NoPlatform) => return Plan::stopped(Stage::NoPlatform),
        Err(Blocked::Paused) => return Plan::stopped(Stage::Paused),
        Err(Blocked::OverBudget(refusal)) => return Plan::stopped(Stage::OverBudget(refusal.clone())),
        // The next list knows it.
        Err(Blocked::NotListed) => return Plan::stopped(Stage::WaitingForPlatform),
    };
    let Grant { platform, connections, budget, credentials } = grant;
    let name = input.pool.metadata.name.as_deref().unwrap_or_default();
    let spec = &input.pool.spec;
    let replicas = pool_replicas(spec);
    let ready = credentials.as_ref().filter(|credentials| {
        let desired = set_up(&platform.settings, credentials, budget, images, &platform.owner).name;
        platform.set_up.as_ref() == Some(&desired)
    });
    let Some(credentials) = ready else {
        // A new pod would find things that the setup has not prepared; more of the old ones do no harm.
        let only_replicas = match (replicas, &input.rollout) {
            (Replicas::Fixed(desired), Some(rollout)) if rollout.desired != desired => Some(desired),
            _ => None,
        };
        return Plan {
            only_replicas,
            connections: Some(connections.total()),
            ..Plan::stopped(Stage::WaitingForPlatform)
        };
    };
    match objects(input, &platform.settings, credentials, with_timeouts(*connections, spec), images) {
        Ok(apply) => Plan {
            stage: Stage::Running,
            delete: orphans(&input.optional, &pool_kinds(), &input.missing, &apply),
            apply,
            scaled: replicas.scaling().is_some(),
            only_replicas: None,
            step: match scaler(input, images) {
                Some(_) => None,
                None => input.load.step(name, &input.pool, input.rollout.as_ref()),
            },
            connections: Some(connections.total()),
        },
        Err(error) => Plan::stopped(Stage::Refused(format!("spec.podTemplate makes no pod template: {error}"))),
    }
}

/// Where KEDA is to ask, if it is there and does the scaling.
fn scaler<'a>(input: &PoolInput, images: &'a Images) -> Option<&'a str> {
    images.keda_scaler.as_deref().filter(|_| !input.missing.contains(&scaled_object::resource()))
}

/// A pool without a share of its own may still have timeouts of its own.
fn with_timeouts(connections: ConnectionPool, spec: &WorkerPoolSpec) -> ConnectionPool {
    let own = spec.connections.clone().unwrap_or_default();
    ConnectionPool {
        size: connections.size,
        overflow: connections.overflow,
        wait_timeout_seconds: own.wait_timeout.map_or(connections.wait_timeout_seconds, |wait| wait.0),
        statement_timeout_seconds: own.statement_timeout.map_or(connections.statement_timeout_seconds, |limit| limit.0),
    }
}

fn objects(
    input: &PoolInput,
    settings: &Settings,
    credentials: &Credentials,
    connections: ConnectionPool,
    images: &Images,
) -> Result<Vec<Manifest>, String> {
    let (spec, owner) = (&input.pool.spec, &input.owner);
    let name = input.pool.metadata.name.as_deref().unwrap_or_default();
    let lanes = lanes(spec);
    let longest = lanes.iter().map(|lane| settings.lanes.get(*lane).timeout_seconds).max().unwrap_or_default();
    let role = spec.kind.role();
    let priority = lanes.first().and_then(|lane| priority(settings, images, *lane));
    let workload = Workload::Pool {
        name: name.to_owned(),
        kind: spec.kind,
        lanes,
        concurrency: spec
            .concurrency
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or_else(|| defaults::concurrency(spec.kind)),
    };
    let config = config(settings, credentials, workload, role, connections);
    let selector = names::pool_selector(&settings.name, name);
    let mut labels = names::labels(&settings.name, "worker");
    labels.extend([
        (names::POOL_LABEL.to_owned(), name.to_owned()),
        (names::KIND_LABEL.to_owned(), spec.kind.to_string()),
    ]);
    let optional = match spec.kind {
        Kind::General => credentials.profile_source.clone(),
        Kind::Cdn => Some(credentials.object_store.clone()),
        Kind::Discovery | Kind::Ai => None,
    };
    let resources = container_resources(settings, spec);
    let template = pod::template(
        &Pod {
            selector: selector.clone(),
            labels: labels.clone(),
            container: "worker",
            image: image(spec, images),
            args: Vec::new(),
            env: env(spec),
            port: None,
            probes: Probes::Workload,
            resources,
            config: Some((name.to_owned(), names::digest([document(&config).as_bytes()]))),
            secrets: merged(
                [
                    Some(credentials.database.clone()),
                    credentials.role(role),
                    Some(credentials.broker.clone()),
                    Some(credentials.cache.clone()),
                    optional,
                ]
                .into_iter()
                .flatten(),
            ),
            data: None,
            grace_seconds: defaults::grace_seconds(settings.environment, longest),
            restart: None,
            spread: defaults::is_redundant(settings.environment),
            priority,
        },
        images,
    );
    let template = if spec.gpu.is_some() { with_provider_check(template) } else { template };
    // All of them stay whatever the override says: NetworkPolicies go by the kind.
    let template = pod::overridden(template, spec.gpu.as_ref().map(scheduling).as_ref(), &labels)?;
    let template = pod::overridden(template, spec.pod_template.as_ref(), &labels)?;
    let replicas = starting_replicas(pool_replicas(spec), input.rollout.is_some());
    let mut metadata = owner.meta(name, "worker");
    metadata.labels.get_or_insert_default().extend(labels);
    let mut all = vec![
        Manifest::of(&config_map(owner, name, "worker", &config)),
        Manifest::of(&deployment(metadata.clone(), selector.clone(), replicas, template)),
    ];
    if let Some(bounds) = pool_replicas(spec).scaling() {
        all.push(input.load.autoscaler(metadata.clone(), name, bounds, scaler(input, images)));
    }
    if defaults::is_redundant(settings.environment) {
        all.push(Manifest::of(&pod_disruption_budget(metadata, selector)));
    }
    Ok(all)
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

/// Before the worker of a GPU pool starts, a container like it finds out whether there is a GPU, and says so as it ends: [`ExecutionProvider`] reads it.
fn with_provider_check(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let spec = template.spec.get_or_insert_default();
    let check = spec.containers.first().map(|worker| Container {
        name: PROVIDER_CHECK.to_owned(),
        args: Some(vec!["provider".to_owned()]),
        ports: None,
        startup_probe: None,
        readiness_probe: None,
        liveness_probe: None,
        // No secrets: it does nothing but run the model.
        volume_mounts: worker
            .volume_mounts
            .as_ref()
            .map(|mounts| mounts.iter().filter(|mount| mount.name == pod::SCRATCH).cloned().collect()),
        ..worker.clone()
    });
    spec.init_containers = check.map(|check| vec![check]);
    template
}

/// Where the pods of a GPU pool may run.
fn scheduling(gpu: &Gpu) -> PodTemplate {
    let mut spec = serde_json::Map::new();
    if let Some(selector) = &gpu.node_selector {
        spec.insert("nodeSelector".into(), serde_json::json!(selector));
    }
    if let Some(tolerations) = gpu.tolerations.as_ref().filter(|list| !list.is_empty()) {
        let tolerations: &[Toleration] = tolerations;
        spec.insert("tolerations".into(), serde_json::json!(tolerations));
    }
    if let Some(class) = &gpu.runtime_class_name {
        spec.insert("runtimeClassName".into(), serde_json::json!(class));
    }
    PodTemplate(serde_json::Map::from_iter([("spec".to_owned(), serde_json::Value::Object(spec))]))
}
