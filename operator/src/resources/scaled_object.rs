//! `ScaledObject` of KEDA, an optional kind.

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

/// Interval in seconds at which KEDA checks whether a pool without pods needs some. The first job
/// waits for it.
const POLLING_SECONDS: u32 = 5;
/// Seconds of inactivity after which KEDA scales to zero, from any number of pods.
///
/// The scaler reports a pool as active for five minutes after its last job. With this delay, the
/// autoscaler, which takes seven minutes, has scaled the pool to one pod before.
const COOL_DOWN_SECONDS: u32 = 300;

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"))
}

/// Scales the Deployment `pool` within `bounds`, as the external scaler at `scaler`
/// requests.
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
