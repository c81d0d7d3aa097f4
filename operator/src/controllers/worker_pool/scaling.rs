//! Scaling of a pool with `spec.scaling`. Pure.
//!
//! Builds the autoscaler, takes the steps to and from zero that a HorizontalPodAutoscaler cannot
//! take, and reports both in conditions.

use std::sync::Arc;

use k8s_openapi::{
    api::autoscaling::v2::HorizontalPodAutoscalerCondition, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use switchyard_contract::LanesReport;

use crate::{
    capacity::{DesiredPods, Pool, gpu::GpuCapacity, zero},
    controllers::condition::{Condition, ConditionStatus, condition},
    crd::{
        WorkerPool,
        conditions::{ConditionType, Reason},
    },
    kubernetes::rollout::Rollout,
    resources::{horizontal_pod_autoscaler::pool_autoscaler, manifest::Manifest, scaled_object::scaled_object},
    spec::replicas::ScalingBounds,
};

/// The lengths of the platform's lanes, and the pods that they require of the pool.
pub type Demand = (Arc<LanesReport>, Option<DesiredPods>);

/// The observed state that the size of a scaled pool depends on.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// None if the operator does not set the replicas, and an error if the API does not report
    /// them.
    pub desired: Option<Result<Demand, String>>,
    /// Its autoscaler, if it exists.
    pub autoscaler: Option<Autoscaler>,
    /// The pods that the cluster's GPUs suffice for; none for a pool without GPUs.
    pub gpu_capacity: Option<GpuCapacity>,
}

/// The object that scales a pool.
#[derive(Debug, Clone)]
pub struct Autoscaler {
    /// `ScaledObject` or `HorizontalPodAutoscaler`.
    pub kind: &'static str,
    /// Its conditions; none before the first evaluation.
    pub conditions: Vec<HorizontalPodAutoscalerCondition>,
}

impl Load {
    /// The autoscaler: a ScaledObject that queries `scaler`, or else a HorizontalPodAutoscaler. The
    /// latter cannot scale to zero, so the operator takes those steps: see [`Self::step`].
    ///
    /// The maximum is limited to the available GPUs.
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

    /// The replicas to set for a step to or from zero, if one is due.
    pub fn step(&self, name: &str, pool: &WorkerPool, rollout: Option<&Rollout>) -> Option<i32> {
        let (Some(Ok((stats, desired))), Some(rollout)) = (&self.desired, rollout) else { return None };
        let pods = u32::try_from(rollout.desired).unwrap_or(0);
        match zero::step(&Pool::of(name, &pool.spec), pods, &stats.lanes, desired.as_ref()) {
            zero::Step::Leave => None,
            zero::Step::Set(pods) => i32::try_from(pods).ok(),
        }
    }

    /// The conditions `Autoscaling` and `GpuCapacity`. A failure quotes the autoscaler.
    pub fn conditions(&self, bounds: ScalingBounds, rollout: Option<&Rollout>) -> Vec<Condition> {
        let mut all = vec![self.autoscaling(bounds, rollout)];
        if let Some(gpu_capacity) = &self.gpu_capacity {
            let fits = i64::from(gpu_capacity.pods) >= i64::from(bounds.max());
            all.push(condition(
                ConditionType::GpuCapacity,
                fits,
                if fits { Reason::Fits } else { Reason::InsufficientGpus },
                format!("{}.", gpu_capacity.message),
            ));
        }
        all
    }

    fn autoscaling(&self, bounds: ScalingBounds, rollout: Option<&Rollout>) -> Condition {
        let kind = ConditionType::Autoscaling;
        let range = format!("between {} and {} pods", bounds.min(), bounds.max());
        if let Some(Err(words)) = &self.desired {
            return condition(
                kind,
                false,
                Reason::LoadUnknown,
                format!("The number of pods stays unchanged: {words}."),
            );
        }
        if rollout.is_some_and(|rollout| rollout.desired == 0) {
            return condition(
                kind,
                true,
                Reason::ScaledToZero,
                format!("The queues are empty; the pool scales {range}."),
            );
        }
        let by = self.autoscaler.as_ref().map_or("HorizontalPodAutoscaler", |autoscaler| autoscaler.kind);
        let failed = |kind: &str| {
            self.autoscaler
                .iter()
                .flat_map(|all| &all.conditions)
                .find(|condition| condition.type_ == kind && condition.status == "False")
        };
        match failed("AbleToScale")
            .or_else(|| failed("ScalingActive").filter(|c| c.reason.as_deref() != Some("ScalingDisabled")))
        {
            Some(found) => {
                let reason = Reason::Autoscaler(found.reason.clone().unwrap_or_else(|| "AutoscalerFailed".into()));
                let words = found.message.clone().unwrap_or_default();
                condition(
                    kind,
                    false,
                    reason,
                    format!("The number of pods stays unchanged, since the {by} reports: {words}."),
                )
            }
            None if self.autoscaler.as_ref().is_some_and(|autoscaler| !autoscaler.conditions.is_empty()) => {
                condition(kind, true, Reason::Active, format!("The pool scales {range}."))
            }
            None => condition(
                kind,
                ConditionStatus::Unknown,
                Reason::NotSeen,
                "The autoscaler has not reported on the pool yet.",
            ),
        }
    }
}
