//! `ScaledObject` of KEDA, which a cluster may or may not have.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde_json::json;

use crate::{
    capacity::hpa,
    resources::manifest::Manifest,
    spec::{names::SCALER_POOL_KEY, replicas::ScalingBounds},
};

/// How often KEDA asks whether a pool without pods should have some, in seconds: its first job waits for that.
const POLLING_SECONDS: u32 = 5;
/// How long KEDA waits before it goes to none, in seconds; it goes there from any number of pods. The scaler calls a pool active for five minutes after
/// its last job, and so the autoscaler's seven minutes have brought it to one before.
const COOL_DOWN_SECONDS: u32 = 300;

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"))
}

/// Lets the Deployment of the pool `pool`, which has its name, have the pods that the external scaler at `scaler` says, within `bounds`.
pub fn scaled_object(metadata: ObjectMeta, pool: &str, bounds: ScalingBounds, scaler: &str) -> Manifest {
    let spec = json!({
        "scaleTargetRef": {"name": pool},
        "minReplicaCount": bounds.min(),
        "maxReplicaCount": bounds.max(),
        "pollingInterval": POLLING_SECONDS,
        "cooldownPeriod": COOL_DOWN_SECONDS,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": hpa::behavior()}},
        "triggers": [{"type": "external", "metadata": {"scalerAddress": scaler, SCALER_POOL_KEY: pool}}],
    });
    let resource = resource();
    let mut object = DynamicObject::new(pool, &resource);
    object.metadata = metadata;
    object.data = json!({"spec": spec});
    Manifest { resource, object }
}
