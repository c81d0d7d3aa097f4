//! What planning came to. Pure.

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

/// What was planned, a part for each platform.
#[derive(Debug, Default)]
pub struct Outcome {
    pub platforms: Vec<Planned>,
    /// What the plan takes for granted, in words.
    pub assumed: Vec<String>,
}

/// One platform with its pools.
#[derive(Debug)]
pub struct Planned {
    pub settings: Settings,
    pub budget: Budget,
    /// Why something would not happen: what it is about, and the words of its condition.
    pub refused: Vec<(String, String)>,
    /// Objects as they would be applied, in the order in which they would be.
    pub manifests: Vec<Manifest>,
    /// What would change; without a cluster, everything is made.
    pub changes: Vec<Change>,
    /// Pools with what they were planned as.
    pub pools: Vec<WorkerPool>,
}

impl Outcome {
    /// Whether anything of it would be refused.
    pub fn is_refused(&self) -> bool {
        self.platforms.iter().any(|planned| !planned.refused.is_empty())
    }

    /// How many objects would change.
    pub fn changes(&self) -> usize {
        self.platforms.iter().flat_map(|planned| &planned.changes).filter(|change| change.is_one()).count()
    }
}

/// Everything that one platform would be, once every step has succeeded that has to come before.
#[derive(Debug)]
pub struct Whole {
    pub plan: Plan,
    pub budget: Budget,
    pub input: PlatformInput,
    pub refused: Vec<(String, String)>,
    pub manifests: Vec<Manifest>,
    pub deletes: Vec<ObjectId>,
}

/// Plans the platform of `input` to its end. `more` are pools that are not there yet; a pool's own owner is asked of `owner_of`.
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
            // Made with the platform, and so before any pool that is not there yet.
            pool.metadata.creation_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()));
            input.pools.push(pool);
        }
    }
    let (plan, budget, mut manifests) = to_the_end(&mut input, images);
    let mut refused = Vec::new();
    if let Stage::Refused(problems) = &plan.stage {
        refused
            .extend(problems.iter().map(|problem| (problem.component.condition().to_owned(), problem.message.clone())));
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

/// A pool that is there owns its objects; one that is not gets a stand-in of an identity.
fn owner_of(pool: &WorkerPool, input: &PlatformInput) -> Option<Owner> {
    let mut pool = pool.clone();
    pool.metadata.namespace.get_or_insert_with(|| input.settings.namespace.clone());
    pool.metadata.uid.get_or_insert_with(|| PLANNED.to_owned());
    Owner::of(&pool, &input.settings.name)
}

/// Identity of an owner that is not there yet.
pub const PLANNED: &str = "00000000-0000-0000-0000-000000000000";

/// Plays every step that has to succeed before the next, and gathers all that is applied on the way.
fn to_the_end(input: &mut PlatformInput, images: &Images) -> (Plan, Budget, Vec<Manifest>) {
    let mut all: Vec<Manifest> = Vec::new();
    // When every pool has been there for long enough.
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
