//! Reads how many pods of a GPU pool the cluster can run: GPUs of nodes, pods that use them,
//! quotas.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota, Toleration};
use kube::{Api, Client, ResourceExt, api::ListParams};

use crate::{
    capacity::gpu::{self, GpuCapacity},
    crd::{Gpu, WorkerPool},
    kubernetes::error::Error,
    spec::{names::POOL_LABEL, pool::gpu_resource, quantity::thousandths, replicas::ScalingBounds},
};

/// The GPU capacity for `pool`; none if it needs no GPU. Without the right to list nodes, only
/// quotas limit it.
///
/// # Errors
/// If the API server does not answer.
pub async fn gpu_capacity(
    client: &Client,
    pool: &WorkerPool,
    bounds: ScalingBounds,
    namespace: &str,
) -> Result<Option<GpuCapacity>, Error> {
    let Some(gpu) = &pool.spec.gpu else { return Ok(None) };
    let resource = gpu_resource(gpu);
    let mine = |pod: &Pod| {
        pod.namespace().as_deref() == Some(namespace) && pod.labels().get(POOL_LABEL) == Some(&pool.name_any())
    };
    let matching = if gpu.nodes_on_demand == Some(true) { None } else { matching_nodes(client, gpu).await? };
    let nodes = match matching {
        None => None,
        Some(nodes) => {
            let mut all = Vec::new();
            for node in nodes {
                let on_it = ListParams::default().fields(&format!("spec.nodeName={}", node.name_any()));
                let pods = Api::<Pod>::all(client.clone()).list(&on_it).await;
                let pods = pods
                    .map_err(|error| Error::of(format!("cannot list the pods of node {}", node.name_any()), error))?;
                all.push(gpu::Node {
                    name: node.name_any(),
                    allocatable: whole(node.status.iter().flat_map(|status| status.allocatable.iter()), resource),
                    others: pods
                        .items
                        .iter()
                        .filter(|pod| !mine(pod) && !has_ended(pod))
                        .map(|pod| held(pod, resource))
                        .sum(),
                });
            }
            Some(all)
        }
    };
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    let quotas =
        quotas.list(&ListParams::default()).await.map_err(|error| Error::of("cannot list resourcequotas", error))?;
    let hard_name = format!("requests.{resource}");
    let limits: Vec<(String, i64, i64)> = quotas
        .items
        .iter()
        .filter_map(|quota| {
            let hard = quota.spec.as_ref()?.hard.as_ref()?;
            hard.contains_key(&hard_name).then(|| {
                let used = quota.status.iter().flat_map(|status| status.used.iter());
                (quota.name_any(), whole([hard], &hard_name), whole(used, &hard_name))
            })
        })
        .collect();
    let own = if limits.is_empty() {
        0
    } else {
        let ours = ListParams::default().labels(&format!("{POOL_LABEL}={}", pool.name_any()));
        let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&ours).await;
        let pods = pods.map_err(|error| Error::of("cannot list pods", error))?;
        pods.items.iter().filter(|pod| !has_ended(pod)).map(|pod| held(pod, resource)).sum()
    };
    let quotas: Vec<gpu::Quota> =
        limits.into_iter().map(|(name, hard, used)| gpu::Quota { name, hard, others: (used - own).max(0) }).collect();
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    Ok(Some(gpu::gpu_capacity(count(bounds.max()), count(gpu.count), resource, nodes.as_deref(), &quotas)))
}

/// Nodes that can run the pool's pods: ready, not cordoned, with the labels, and with tolerated
/// taints only. None without the right to list nodes.
async fn matching_nodes(client: &Client, gpu: &Gpu) -> Result<Option<Vec<Node>>, Error> {
    let selector =
        gpu.node_selector.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
    let nodes = match Api::<Node>::all(client.clone()).list(&ListParams::default().labels(&selector)).await {
        Ok(nodes) => nodes,
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
        Err(error) => return Err(Error::of("cannot list nodes", error)),
    };
    Ok(Some(nodes.items.into_iter().filter(|node| takes(node, gpu)).collect()))
}

fn takes(node: &Node, gpu: &Gpu) -> bool {
    let spec = node.spec.clone().unwrap_or_default();
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let tolerated = spec.taints.iter().flatten().filter(|taint| taint.effect != "PreferNoSchedule").all(|taint| {
        // The admission plugin ExtendedResourceToleration may add a toleration for the resource's
        // own taint. It is not counted here, since the operator cannot see whether it is enabled.
        gpu.tolerations.iter().flatten().any(|toleration| {
            tolerates(toleration, &taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect)
        })
    });
    is_ready && spec.unschedulable != Some(true) && tolerated
}

fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let exists = toleration.operator.as_deref() == Some("Exists");
    let same_key =
        toleration.key.as_deref().is_none_or(str::is_empty) && exists || toleration.key.as_deref() == Some(key);
    let same_value = exists || toleration.value.as_deref().unwrap_or_default() == value;
    same_key && same_value && toleration.effect.as_deref().is_none_or(|desired| desired.is_empty() || desired == effect)
}

fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Whole units of `resource` in the limits of a pod.
fn held(pod: &Pod, resource: &str) -> i64 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    whole(containers.filter_map(|container| container.resources.as_ref()?.limits.as_ref()), resource)
}

fn whole<'a>(
    lists: impl IntoIterator<Item = &'a BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>,
    resource: &str,
) -> i64 {
    let sum: i128 = lists.into_iter().filter_map(|list| thousandths(list.get(resource)?)).sum();
    i64::try_from(sum / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn node_runs_pods_if_ready_and_its_taints_are_tolerated() {
        let node = |taints: serde_json::Value, ready: &str, cordoned: bool| -> Node {
            serde_json::from_value(
                json!({"metadata": {"name": "n"}, "spec": {"taints": taints, "unschedulable": cordoned},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}}),
            )
            .expect("a node")
        };
        let gpu = |tolerations: serde_json::Value| -> Gpu {
            serde_json::from_value(json!({"count": 1, "tolerations": tolerations})).expect("a gpu")
        };
        let taint = json!([{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]);
        for (node, gpu, expected) in [
            (node(json!([]), "True", false), gpu(json!([])), true),
            (node(json!([]), "False", false), gpu(json!([])), false),
            (node(json!([]), "True", true), gpu(json!([])), false),
            (node(taint.clone(), "True", false), gpu(json!([])), false),
            (node(taint.clone(), "True", false), gpu(json!([{"key": "nvidia.com/gpu", "operator": "Exists"}])), true),
            (node(taint.clone(), "True", false), gpu(json!([{"operator": "Exists"}])), true),
            (node(taint.clone(), "True", false), gpu(json!([{"key": "nvidia.com/gpu", "value": "other"}])), false),
            (
                node(taint.clone(), "True", false),
                gpu(json!([{"key": "nvidia.com/gpu", "value": "present", "effect": "NoExecute"}])),
                false,
            ),
            (node(taint, "True", false), gpu(json!([{"key": "nvidia.com/gpu", "value": "present"}])), true),
            (node(json!([{"key": "a", "effect": "PreferNoSchedule"}]), "True", false), gpu(json!([])), true),
        ] {
            assert_eq!(takes(&node, &gpu), expected, "{node:?} {gpu:?}");
        }
    }
}
