//! A pool whose size follows the load: its autoscaler, the steps that an autoscaler cannot take, and how it is going. Pure.

use std::sync::Arc;

use k8s_openapi::{
    api::autoscaling::v2::HorizontalPodAutoscalerCondition, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use switchyard_contract::LanesReport;

use crate::{
    api::{Scaling, WorkerPool},
    capacity::{Pool, Wanted, gpu::Room, zero},
    condition::{Statement, Truth, state},
    platform::observed::Rollout,
    resources::{Manifest, horizontal_pod_autoscaler::pool_autoscaler, scaled_object::scaled_object},
};

/// What waits in the platform's queues, and the pods that the pool should have for it.
pub type Known = (Arc<LanesReport>, Option<Wanted>);

/// What is known about the size of a scaled pool.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// None where nobody needs to know, an error where nobody knows.
    pub wanted: Option<Result<Known, String>>,
    /// Its autoscaler, when there is one.
    pub autoscaler: Option<Autoscaler>,
    /// How many of its pods the cluster's GPUs have room for, where it needs some and that is known.
    pub room: Option<Room>,
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
    pub fn autoscaler(&self, metadata: ObjectMeta, pool: &str, scaling: &Scaling, scaler: Option<&str>) -> Manifest {
        let room = self.room.as_ref().map_or(scaling.max, |room| i32::try_from(room.pods).unwrap_or(i32::MAX));
        let max = scaling.max.min(room).max(1);
        match scaler {
            Some(scaler) => scaled_object(metadata, pool, (scaling.min.clamp(0, max), max), scaler),
            None => Manifest::of(&pool_autoscaler(metadata, pool, (scaling.min.clamp(1, max), max))),
        }
    }

    /// The replicas that the operator is to set, if any.
    pub fn step(&self, name: &str, pool: &WorkerPool, rollout: Option<&Rollout>) -> Option<i32> {
        let (Some(Ok((facts, wanted))), Some(rollout)) = (&self.wanted, rollout) else { return None };
        let pods = u32::try_from(rollout.desired).unwrap_or(0);
        match zero::step(&Pool::of(name, &pool.spec), pods, &facts.lanes, wanted.as_ref()) {
            zero::Step::Leave => None,
            zero::Step::Set(pods) => i32::try_from(pods).ok(),
        }
    }

    /// How the scaling is going: what keeps it from going, in the autoscaler's own words.
    pub fn statements(&self, scaling: &Scaling, rollout: Option<&Rollout>) -> Vec<Statement> {
        let mut all = vec![self.following(scaling, rollout)];
        if let Some(room) = &self.room {
            let fits = i64::from(room.pods) >= i64::from(scaling.max);
            all.push(state("GpuRoom", fits, if fits { "Fits" } else { "TooFewGpus" }, format!("{}.", room.words)));
        }
        all
    }

    fn following(&self, scaling: &Scaling, rollout: Option<&Rollout>) -> Statement {
        let kind = "Autoscaling";
        let bounds = format!("between {} and {} pods", scaling.min, scaling.max);
        if let Some(Err(words)) = &self.wanted {
            return state(kind, false, "LoadUnknown", format!("The pods stay as they are: {words}."));
        }
        if rollout.is_some_and(|rollout| rollout.desired == 0) {
            return state(kind, true, "ScaledToZero", format!("Nothing is to be done; the load is followed {bounds}."));
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
            Some(condition) => {
                let reason = condition.reason.clone().unwrap_or_else(|| "AutoscalerFailed".into());
                let words = condition.message.clone().unwrap_or_default();
                state(kind, false, reason, format!("The pods stay as they are, since the {by} says: {words}."))
            }
            None if self.autoscaler.as_ref().is_some_and(|autoscaler| !autoscaler.conditions.is_empty()) => {
                state(kind, true, "Following", format!("The load is followed {bounds}."))
            }
            None => state(kind, Truth::Unknown, "NotSeen", "The autoscaler has not looked at the pool yet."),
        }
    }
}
