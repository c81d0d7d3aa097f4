//! The result of planning. Pure.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::{
    controllers::{
        platform::{
            input::PlatformInput,
            plan::{Plan, Stage, not_ready, plan},
            validate::validate,
        },
        worker_pool,
    },
    crd::WorkerPool,
    kubernetes::{
        prune::ObjectId,
        rollout::{JobState, Rollout},
    },
    preview::difference::Change,
    resources::{
        manifest::Manifest,
        owner::Owner,
        worker_pool::{default_name, default_pool},
    },
    spec::{connection_budget::Budget, images::Images, settings::Settings},
};
use switchyard_contract::Kind;

/// The planned platforms.
#[derive(Debug, Default)]
pub struct Outcome {
    pub platforms: Vec<Planned>,
    /// Assumptions of the plan.
    pub assumed: Vec<String>,
}

/// One platform with its pools.
#[derive(Debug)]
pub struct Planned {
    pub settings: Settings,
    pub budget: Budget,
    /// Refusals: the subject, and the message of its condition.
    pub refused: Vec<(String, String)>,
    /// Objects that would be applied, in this order.
    pub manifests: Vec<Manifest>,
    /// Changes. Without a cluster everything is created.
    pub changes: Vec<Change>,
    /// The pools as planned.
    pub pools: Vec<WorkerPool>,
}

impl Outcome {
    /// Whether anything would be refused.
    pub fn is_refused(&self) -> bool {
        self.platforms.iter().any(|planned| !planned.refused.is_empty())
    }

    /// The number of objects that would change.
    pub fn changes(&self) -> usize {
        self.platforms.iter().flat_map(|planned| &planned.changes).filter(|change| change.is_one()).count()
    }
}

/// The plan of one platform after every preceding step has succeeded.
#[derive(Debug)]
pub struct Whole {
    pub plan: Plan,
    pub budget: Budget,
    pub input: PlatformInput,
    pub refused: Vec<(String, String)>,
    pub manifests: Vec<Manifest>,
    pub deletes: Vec<ObjectId>,
}

/// Plans the platform of `input` up to its final stage. `more` are pools that do not exist yet.
pub fn whole(
    mut input: PlatformInput,
    more: Vec<WorkerPool>,
    images: &Images,
    rollouts: impl Fn(&str) -> Option<Rollout>,
    found: impl Fn(&str) -> Vec<ObjectId>,
) -> Whole {
    for pool in more {
        input.pools.retain(|there| there.name_any() != pool.name_any());
        input.pools.push(pool);
    }
    for kind in Kind::ALL {
        let name = default_name(&input.settings.name, *kind);
        if !input.pools.iter().any(|pool| pool.name_any() == name) {
            let mut pool = default_pool(&input.owner, *kind);
            // Created with the platform, and so before any pool that does not exist yet.
            pool.metadata.creation_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()));
            input.pools.push(pool);
        }
    }
    let (plan, budget, mut manifests) = to_the_end(&mut input, images);
    let mut refused = Vec::new();
    if let Stage::Refused(problems) = &plan.stage {
        refused.extend(
            problems.iter().map(|problem| (problem.component.condition().as_str().to_owned(), problem.message.clone())),
        );
    }
    let mut deletes = plan.delete.clone();
    for pool in input.pools.clone() {
        let name = pool.name_any();
        let Some(owner) = owner_of(&pool, &input) else { continue };
        let pool_input = worker_pool::input::PoolInput {
            owner,
            platform: Some(worker_pool::input::PlatformSnapshot {
                settings: input.settings.clone(),
                secrets: input.secrets.clone(),
                pools: input.pools.clone(),
                setup_job: plan.setup_job.clone(),
                owner: input.owner.clone(),
            }),
            rollout: rollouts(&name),
            provider: None,
            optional: found(&name),
            missing: input.observed.missing.clone(),
            load: worker_pool::scaling::Load::default(),
            pool,
        };
        let pool_plan = worker_pool::plan::plan(&worker_pool::validate::validate(pool_input), images);
        match pool_plan.stage {
            worker_pool::plan::Stage::OverBudget(refusal) => {
                refused.push((format!("WorkerPool {name}"), refusal.to_string()));
            }
            worker_pool::plan::Stage::Refused(words) => refused.push((format!("WorkerPool {name}"), words)),
            _ => {}
        }
        deletes.extend(pool_plan.delete);
        manifests.extend(pool_plan.apply);
    }
    Whole { plan, budget, input, refused, manifests, deletes }
}

/// The owner reference to a pool. A pool that does not exist yet gets a placeholder UID.
fn owner_of(pool: &WorkerPool, input: &PlatformInput) -> Option<Owner> {
    let mut pool = pool.clone();
    pool.metadata.namespace.get_or_insert_with(|| input.settings.namespace.clone());
    pool.metadata.uid.get_or_insert_with(|| PLANNED.to_owned());
    Owner::of(&pool, &input.settings.name)
}

/// UID of an owner that does not exist yet.
pub const PLANNED: &str = "00000000-0000-0000-0000-000000000000";

/// Simulates the success of every step and collects all objects that are applied on the way.
fn to_the_end(input: &mut PlatformInput, images: &Images) -> (Plan, Budget, Vec<Manifest>) {
    let mut all: Vec<Manifest> = Vec::new();
    // Late enough for the objects that wait for their pools.
    let then = Timestamp::now() + SignedDuration::from_mins(1);
    loop {
        let valid = validate(input.clone());
        let now = plan(&valid, images, then);
        for manifest in &now.apply {
            match all.iter_mut().find(|known| known.title() == manifest.title()) {
                Some(known) => known.clone_from(manifest),
                None => all.push(manifest.clone()),
            }
        }
        match &now.stage {
            Stage::WaitingForServers(_) => {
                for component in not_ready(&input.settings, &input.observed) {
                    let one = Rollout { desired: 1, replicas: 1, ready: 1, complete: true, trouble: None };
                    input.observed.servers.insert(component, one);
                }
            }
            Stage::SettingUp { .. } | Stage::SetupFailed { .. } => {
                let Some(job) = now.setup_job.clone() else { return (now, valid.budget, all) };
                input.observed.jobs.insert(job, JobState::Succeeded);
            }
            Stage::Running | Stage::Refused(_) => return (now, valid.budget, all),
        }
    }
}
