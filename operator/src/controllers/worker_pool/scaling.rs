//! A pool whose size follows the load: its autoscaler, the steps that an autoscaler cannot take, and how it is going. Pure.

use std::sync::Arc;

use k8s_openapi::{
    api::autoscaling::v2::HorizontalPodAutoscalerCondition, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use switchyard_contract::LanesReport;

use crate::{
    capacity::{DesiredPods, Pool, gpu::GpuCapacity, zero},
    controllers::condition::{Condition, ConditionStatus, condition},
    crd::WorkerPool,
    kubernetes::rollout::Rollout,
    resources::{horizontal_pod_autoscaler::pool_autoscaler, manifest::Manifest, scaled_object::scaled_object},
    spec::replicas::ScalingBounds,
};

/// What waits in the platform's queues, and the pods that the pool should have for it.
pub type Known = (Arc<LanesReport>, Option<DesiredPods>);

/// What is known about the size of a scaled pool.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// None where nobody needs to know, an error where nobody knows.
    pub desired: Option<Result<Known, String>>,
    /// Its autoscaler, when there is one.
    pub autoscaler: Option<Autoscaler>,
    /// How many of its pods the cluster's GPUs have room for, where it needs some and that is known.
    pub gpu_capacity: Option<GpuCapacity>,
}

/// What brings a pool to its size.
#[derive(Debug, Clone)]
pub struct Autoscaler {
    pub kind: &'static str,
    pub conditions: Vec<HorizontalPodAutoscalerCondition>,
}

impl Load {
    /// The autoscaler: KEDA's, which asks at `scaler`, or a plain one. That cannot ask for no pods: from one to none and back is then the operator's.
    /// Either asks for no more than there are GPUs for.
    pub fn autoscaler(
        &self,
        metadata: ObjectMeta,
        pool: &str,
        bounds: ScalingBounds,
        scaler: Option<&str>,
    ) -> Manifest {
        let bounds = match &self.gpu_capacity {
            Some(capacity) => bounds.limited_to(capacity.pods),
            None => bounds,
        };
        match scaler {
            Some(scaler) => scaled_object(metadata, pool, bounds, scaler),
            None => Manifest::of(&pool_autoscaler(metadata, pool, bounds.at_least_one())),
        }
    }

    /// The replicas that the operator is to set, if any.
    pub fn step(&self, name: &str, pool: &WorkerPool, rollout: Option<&Rollout>) -> Option<i32> {
        let (Some(Ok((stats, desired))), Some(rollout)) = (&self.desired, rollout) else { return None };
        let pods = u32::try_from(rollout.desired).unwrap_or(0);
        match zero::step(&Pool::of(name, &pool.spec), pods, &stats.lanes, desired.as_ref()) {
            zero::Step::Leave => None,
            zero::Step::Set(pods) => i32::try_from(pods).ok(),
        }
    }

    /// How the scaling is going: what keeps it from going, in the autoscaler's own words.
    pub fn conditions(&self, bounds: ScalingBounds, rollout: Option<&Rollout>) -> Vec<Condition> {
        let mut all = vec![self.following(bounds, rollout)];
        if let Some(gpu_capacity) = &self.gpu_capacity {
            let fits = i64::from(gpu_capacity.pods) >= i64::from(bounds.max());
            all.push(condition(
                "GpuRoom",
                fits,
                if fits { "Fits" } else { "TooFewGpus" },
                format!("{}.", gpu_capacity.message),
            ));
        }
        all
    }

    fn following(&self, bounds: ScalingBounds, rollout: Option<&Rollout>) -> Condition {
        let kind = "Autoscaling";
        let range = format!("between {} and {} pods", bounds.min(), bounds.max());
        if let Some(Err(words)) = &self.desired {
            return condition(kind, false, "LoadUnknown", format!("The pods stay as they are: {words}."));
        }
        if rollout.is_some_and(|rollout| rollout.desired == 0) {
            return condition(
                kind,
                true,
                "ScaledToZero",
                format!("Nothing is to be done; the load is followed {range}."),
            );
        }
        let by = self.autoscaler.as_ref().map_or("HorizontalPodAutoscaler", |autoscaler| autoscaler.kind);
        let wrong = |kind: &str| {
            self.autoscaler
                .iter()
                .flat_map(|all| &all.conditions)
                .find(|condition| condition.type_ == kind && condition.status == "False")
        };
        match wrong("AbleToScale")
            .or_else(|| wrong("ScalingActive").filter(|c| c.reason.as_deref() != Some("ScalingDisabled")))
        {
            Some(found) => {
                let reason = found.reason.clone().unwrap_or_else(|| "AutoscalerFailed".into());
                let words = found.message.clone().unwrap_or_default();
                condition(kind, false, reason, format!("The pods stay as they are, since the {by} says: {words}."))
            }
            None if self.autoscaler.as_ref().is_some_and(|autoscaler| !autoscaler.conditions.is_empty()) => {
                condition(kind, true, "Following", format!("The load is followed {range}."))
            }
            None => {
                condition(kind, ConditionStatus::Unknown, "NotSeen", "The autoscaler has not looked at the pool yet.")
            }
        }
    }
}
