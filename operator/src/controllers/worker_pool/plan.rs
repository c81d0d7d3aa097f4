//! Decides the stage of a pool and which objects to apply, scale and delete. Pure.

use crate::{
    controllers::{
        platform::{build::workloads::setup, credentials::Credentials},
        worker_pool::{
            build::objects::{keda_scaler, objects},
            input::PoolInput,
            validate::{Blocked, Grant, ValidPool},
        },
    },
    kubernetes::{
        kinds::pool_kinds,
        prune::{ObjectId, orphans},
    },
    resources::manifest::Manifest,
    spec::{connection_budget::Refusal, images::Images, pool::pool_replicas, replicas::Replicas},
};

/// How far a pool has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Its platform does not exist.
    NoPlatform,
    /// The platform's setup does not match its current spec and Secrets yet.
    WaitingForPlatform,
    /// The platform is paused.
    Paused,
    /// The connection budget cannot hold the pool.
    OverBudget(Refusal),
    /// The spec yields no valid pod template, with the cause.
    Refused(String),
    /// The Deployment matches the spec.
    Running,
}

/// The desired objects of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How far the pool has come.
    pub stage: Stage,
    /// Objects to apply, in this order.
    pub apply: Vec<Manifest>,
    /// Whether an autoscaler owns the Deployment's replicas.
    pub scaled: bool,
    /// Replicas to set while the rest of the Deployment must not change.
    pub only_replicas: Option<i32>,
    /// Replicas that the operator sets instead of the autoscaler: to or from zero.
    pub step: Option<i32>,
    /// Database connections of one pod.
    pub connections: Option<u32>,
    /// Orphaned objects to delete.
    pub delete: Vec<ObjectId>,
}

impl Plan {
    /// A plan at `stage` that changes nothing.
    const fn unchanged(stage: Stage) -> Self {
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

/// Plans the objects of a validated pool.
pub fn plan(valid: &ValidPool, images: &Images) -> Plan {
    let input = &valid.input;
    let grant = match &valid.grant {
        Ok(grant) => grant,
        Err(Blocked::NoPlatform) => return Plan::unchanged(Stage::NoPlatform),
        Err(Blocked::Paused) => return Plan::unchanged(Stage::Paused),
        Err(Blocked::OverBudget(refusal)) => return Plan::unchanged(Stage::OverBudget(refusal.clone())),
        // The next list of the pools includes it.
        Err(Blocked::NotListed) => return Plan::unchanged(Stage::WaitingForPlatform),
    };
    match prepared_credentials(grant, images) {
        Some(credentials) => running(input, grant, credentials, images),
        None => waiting_for_platform(input, grant),
    }
}

/// The credentials, if the setup Job for the platform's current spec and Secrets has succeeded.
fn prepared_credentials<'a>(grant: &'a Grant, images: &Images) -> Option<&'a Credentials> {
    let Grant { platform, budget, credentials, .. } = grant;
    credentials.as_ref().filter(|credentials| {
        let desired = setup(&platform.settings, credentials, budget, images, &platform.owner).name;
        platform.setup_job.as_ref() == Some(&desired)
    })
}

/// Keeps the pod template, since a new pod could need what the setup has not prepared yet. The
/// number of pods may change.
fn waiting_for_platform(input: &PoolInput, grant: &Grant) -> Plan {
    let only_replicas = match (pool_replicas(&input.pool.spec), &input.rollout) {
        (Replicas::Fixed(desired), Some(rollout)) if rollout.desired != desired => Some(desired),
        _ => None,
    };
    Plan { only_replicas, connections: Some(grant.connections.total()), ..Plan::unchanged(Stage::WaitingForPlatform) }
}

fn running(input: &PoolInput, grant: &Grant, credentials: &Credentials, images: &Images) -> Plan {
    let scaler = keda_scaler(&input.missing, images);
    let apply = match objects(input, grant, credentials, images) {
        Ok(apply) => apply,
        Err(error) => {
            return Plan::unchanged(Stage::Refused(format!("spec.podTemplate makes no pod template: {error}")));
        }
    };
    let name = input.pool.metadata.name.as_deref().unwrap_or_default();
    Plan {
        stage: Stage::Running,
        delete: orphans(&input.optional, &pool_kinds(), &input.missing, &apply),
        apply,
        scaled: pool_replicas(&input.pool.spec).scaling().is_some(),
        only_replicas: None,
        step: match scaler {
            Some(_) => None,
            None => input.load.step(name, &input.pool, input.rollout.as_ref()),
        },
        connections: Some(grant.connections.total()),
    }
}
