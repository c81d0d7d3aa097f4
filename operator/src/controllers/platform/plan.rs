//! Plans the desired objects of a platform. Pure and deterministic.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use switchyard_contract::Kind;

use crate::{
    controllers::platform::{
        build::{
            api_exposure::api_exposure,
            bundled_services::{bundled_components, manifests, server_name},
            monitoring::monitoring,
            namespace_quota::namespace_quota,
            network_policies,
            workloads::{api, setup},
        },
        credentials::{Credentials, Problem},
        input::PlatformInput,
        observed::Observed,
        validate::ValidPlatform,
    },
    crd::WorkerPool,
    kubernetes::{
        kinds::{blocking_kinds, network_policies, platform_kinds},
        prune::{ObjectId, orphans},
        rollout::{JobState, Report},
    },
    resources::{manifest::Manifest, secret::secret, worker_pool::default_pool},
    spec::{component::Component, images::Images, settings::Settings},
};

/// A failed setup is retried after this long.
pub const SETUP_RETRY: Duration = Duration::from_secs(30);

/// A new setup waits until no pool was created for this long. Each pool changes the setup, and
/// several are often created together.
const POOL_SETTLE_TIME: Duration = Duration::from_secs(2);

/// How far a platform has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// Blocked by problems that a person must correct.
    Refused(Vec<Problem>),
    /// Bundled servers are not ready yet.
    WaitingForServers(Vec<Component>),
    /// The setup Job runs.
    SettingUp {
        /// Why its pod does not start.
        trouble: Option<String>,
    },
    /// The setup Job failed and is recreated at `retry_at`.
    SetupFailed { report: Report, retry_at: Timestamp },
    /// The setup succeeded, and the workloads match the spec.
    Running,
}

/// The desired objects of a platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How far the platform has come.
    pub stage: Stage,
    /// When to reconcile again without a change.
    pub requeue_after: Option<Duration>,
    /// Name of the setup Job for this input; none while problems block the platform.
    pub setup_job: Option<String>,
    /// Objects to create if they do not exist. Existing ones are not changed.
    pub create: Vec<Manifest>,
    /// Objects to apply, in this order.
    pub apply: Vec<Manifest>,
    /// Names of Deployments in `apply` whose replicas an autoscaler owns.
    pub scaled: Vec<String>,
    /// Names of setup Jobs to delete.
    pub delete_jobs: Vec<String>,
    /// Orphaned objects to delete before anything is applied: an autoscaler must not exist any more
    /// when replicas are set.
    pub delete: Vec<ObjectId>,
}

/// Plans the objects of a validated platform. `now` only affects when the setup starts.
pub fn plan(valid: &ValidPlatform, images: &Images, now: Timestamp) -> Plan {
    let input = &valid.input;
    let mut plan = desired(valid, images, now);
    // Before the workloads are planned, the desired companion objects are unknown, so existing ones
    // stay. Objects that can block the setup are deleted at any stage.
    let mut kinds = Vec::new();
    if !input.settings.network_policies {
        kinds.push(network_policies());
    }
    if !input.settings.namespace_limits {
        kinds.extend(blocking_kinds().into_iter().filter(|kind| *kind != network_policies()));
    }
    if plan.stage == Stage::Running {
        kinds.extend(platform_kinds());
    }
    plan.delete = orphans(&input.observed.optional, &kinds, &input.observed.missing, &plan.apply);
    plan
}

/// The plan without deletions of orphans.
fn desired(valid: &ValidPlatform, images: &Images, now: Timestamp) -> Plan {
    let PlatformInput { settings, owner, secrets, to_generate, pools, observed } = &valid.input;
    let mut plan = Plan {
        stage: Stage::Running,
        requeue_after: None,
        setup_job: None,
        create: to_generate.iter().map(|g| Manifest::of(&secret(owner, &g.name, g.component, &g.values))).collect(),
        apply: namespace_quota(settings, pools, owner),
        scaled: Vec::new(),
        delete_jobs: Vec::new(),
        delete: Vec::new(),
    };
    plan.apply.extend(network_policies::servers(settings, owner));
    plan.apply.extend(manifests(settings, secrets, images, owner));
    let credentials = match &valid.credentials {
        Ok(credentials) => credentials,
        Err(problems) => {
            plan.stage = Stage::Refused(problems.clone());
            return plan;
        }
    };

    let setup = setup(settings, credentials, &valid.budget, images, owner);
    plan.delete_jobs = observed.jobs.keys().filter(|name| **name != setup.name).cloned().collect();
    plan.setup_job = Some(setup.name.clone());
    plan.apply.extend(network_policies::setup(settings, credentials, owner));
    plan.apply.push(Manifest::of(&setup.config));
    plan.stage = match observed.jobs.get(&setup.name) {
        None => {
            let waiting = not_ready(settings, observed);
            plan.requeue_after = wait_for_pools(pools, now);
            if waiting.is_empty() && plan.requeue_after.is_some() {
                Stage::SettingUp { trouble: None }
            } else if waiting.is_empty() {
                // Jobs are immutable: a changed setup has another name.
                plan.apply.push(Manifest::of(&setup.job));
                Stage::SettingUp { trouble: None }
            } else {
                Stage::WaitingForServers(waiting)
            }
        }
        Some(JobState::Running { trouble }) => Stage::SettingUp { trouble: trouble.clone() },
        Some(JobState::Failed { at, report }) => {
            let retry_at = *at + SETUP_RETRY;
            if now >= retry_at {
                plan.delete_jobs.push(setup.name);
            }
            Stage::SetupFailed { report: report.clone(), retry_at }
        }
        Some(JobState::Succeeded) => running(valid, credentials, images, &mut plan),
    };
    plan
}

/// How long to wait for more pools, if one was just created. Creation times are whole seconds of
/// the API server's clock.
fn wait_for_pools(pools: &[WorkerPool], now: Timestamp) -> Option<Duration> {
    let newest = pools.iter().filter_map(|pool| pool.metadata.creation_timestamp.as_ref()).map(|time| time.0).max()?;
    let age = now.duration_since(newest);
    let age = if age.is_negative() && age.unsigned_abs() < POOL_SETTLE_TIME {
        Duration::ZERO
    } else {
        age.try_into().ok()?
    };
    POOL_SETTLE_TIME.checked_sub(age).filter(|left| !left.is_zero())
}

/// Adds the API and the default pools.
fn running(valid: &ValidPlatform, credentials: &Credentials, images: &Images, plan: &mut Plan) -> Stage {
    let PlatformInput { settings, owner, observed, .. } = &valid.input;
    plan.apply.extend(network_policies::workloads(settings, credentials, owner));
    plan.apply.extend(Kind::ALL.iter().map(|kind| Manifest::of(&default_pool(owner, *kind))));
    let connections = match &valid.budget.api {
        Ok(connections) => *connections,
        Err(_) => return Stage::Running,
    };
    match api(settings, credentials, connections, images, owner, observed.api.is_some()) {
        Ok(api) => {
            if api.scaled {
                plan.scaled.extend(api.deployment.metadata.name.clone());
            }
            plan.apply.extend([Manifest::of(&api.config), Manifest::of(&api.service), Manifest::of(&api.deployment)]);
            plan.apply.extend(api_exposure(settings, owner, &observed.missing));
            plan.apply.extend(monitoring(settings, owner, &observed.missing));
            Stage::Running
        }
        Err(problem) => Stage::Refused(vec![problem]),
    }
}

/// Bundled servers that are not ready.
pub fn not_ready(settings: &Settings, observed: &Observed) -> Vec<Component> {
    bundled_components(settings)
        .into_iter()
        .filter(|component| server_name(&settings.name, *component).is_some())
        .filter(|component| observed.servers.get(component).is_none_or(|server| server.ready == 0))
        .collect()
}
