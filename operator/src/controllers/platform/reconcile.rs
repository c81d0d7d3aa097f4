//! Reconciles a platform: dereference -> validate -> plan -> apply -> status.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1 as metav1, jiff::Timestamp};
use kube::{
    ResourceExt as _,
    runtime::{controller::Action, reflector::Store},
};

use crate::{
    controllers::{
        apply::Applied,
        platform::{
            apply::apply,
            dereference::dereference,
            grants::Grants,
            plan::{Plan, SETUP_RETRY, Stage, plan},
            status::update_status,
            validate::validate,
        },
        reconciler::{Reconciled, Reconciler, ResourceStatus},
        status::StatusUpdate,
    },
    crd::{AnalyticsPlatform, AnalyticsPlatformStatus},
    kubernetes::{
        cache::{entry::CachedObject, store::WatchCache},
        error::Error,
    },
};

/// A settled platform is reconciled this often, in case a watch misses a change.
const RESYNC_INTERVAL: Duration = Duration::from_mins(5);

/// Reconciles the cluster with the spec of `platform`.
async fn reconcile(platform: &AnalyticsPlatform, reconciler: &Reconciler<AnalyticsPlatform>) -> Result<Action, Error> {
    let context = &reconciler.context;
    let input = dereference(&context.reader, &context.healths, platform).await?;
    let valid = validate(input);
    let plan = plan(&valid, &context.images, Timestamp::now());
    reconciler.memory.update(&context.cache, &valid.input.settings, &valid.budget);
    let applied = apply(&context.applier, &valid, &plan).await?;
    let update = update_status(platform, &valid, &plan, &applied, context).await?;
    Ok(Action::requeue(requeue_after(platform, &plan, &applied, &update, reconciler)))
}

/// Delay before the next reconciliation, unless a change triggers it earlier.
fn requeue_after(
    platform: &AnalyticsPlatform,
    plan: &Plan,
    applied: &Applied,
    update: &StatusUpdate<AnalyticsPlatform>,
    reconciler: &Reconciler<AnalyticsPlatform>,
) -> Duration {
    if applied.must_be_retried() {
        return reconciler.retry_after(platform);
    }
    let settled = update.status.conditions.iter().all(|c| {
        !matches!((c.type_.as_str(), c.status.as_str()), ("Ready" | "Exposed", "False") | ("Reconciling", "True"))
    });
    let fixed = match &plan.stage {
        Stage::SetupFailed { retry_at, .. } => {
            let wait = Duration::try_from(retry_at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
            Some(wait.clamp(Duration::from_millis(200), SETUP_RETRY))
        }
        Stage::Refused(_) => Some(RESYNC_INTERVAL),
        Stage::SettingUp { .. } if plan.requeue_after.is_some() => plan.requeue_after,
        _ if settled => Some(RESYNC_INTERVAL),
        _ => None,
    };
    reconciler.requeue_after(platform, settled || update.changed, fixed)
}

impl Reconciled for AnalyticsPlatform {
    type Status = AnalyticsPlatformStatus;
    type Memory = Grants;

    const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

    fn store(cache: &WatchCache) -> Store<Self> {
        cache.platforms().clone()
    }

    fn last_status(&self, cache: &WatchCache) -> AnalyticsPlatformStatus {
        cache.platform_status(&self.namespace().unwrap_or_default(), &self.name_any()).unwrap_or_default()
    }

    fn to_cached(&self) -> CachedObject {
        CachedObject::of_platform(self)
    }

    async fn reconcile(&self, reconciler: &Reconciler<Self>) -> Result<Action, Error> {
        reconcile(self, reconciler).await
    }
}

impl ResourceStatus for AnalyticsPlatformStatus {
    fn conditions(&self) -> &[metav1::Condition] {
        &self.conditions
    }

    fn with_conditions(self, generation: Option<i64>, conditions: Vec<metav1::Condition>) -> Self {
        Self { observed_generation: generation, conditions, ..self }
    }
}
