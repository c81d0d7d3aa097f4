//! The number of pods that the GPUs of the cluster can run. Pure.

/// A node that accepts the pods of the pool: its labels match, the pods tolerate its taints, and it
/// is ready and not cordoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// Allocatable GPUs.
    pub allocatable: i64,
    /// GPUs that pods of other workloads hold.
    pub others: i64,
}

/// A `ResourceQuota` on `requests.<resource>` in the namespace of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    pub name: String,
    pub hard: i64,
    /// GPUs that other workloads use of it.
    pub others: i64,
}

/// The number of pods that an autoscaler may request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuCapacity {
    /// At most the maximum of the pool.
    pub pods: u32,
    /// The arithmetic and, if `pods` is below the maximum, what to change.
    pub message: String,
}

/// The number of pods with `each` GPUs that fit, up to `max`. All GPUs of a pod are on one node.
///
/// `nodes` is `None` if a cluster autoscaler adds nodes on demand: then only quotas limit.
pub fn gpu_capacity(max: u32, each: u32, resource: &str, nodes: Option<&[Node]>, quotas: &[Quota]) -> GpuCapacity {
    let each = i64::from(each.max(1));
    let fit = |free: i64| u32::try_from(free.max(0) / each).unwrap_or(u32::MAX);
    let mut capacity = GpuCapacity { pods: max, message: format!("{max} pods with {each} {resource} each fit") };
    let mut limit = |pods: u32, message: String| {
        if pods < capacity.pods {
            capacity = GpuCapacity { pods, message };
        }
    };
    if let Some(nodes) = nodes {
        let free = |node: &Node| node.allocatable.max(0).saturating_sub(node.others.max(0));
        let pods = nodes.iter().map(|node| fit(free(node))).fold(0, u32::saturating_add);
        let total = |of: fn(&Node) -> i64| nodes.iter().map(of).fold(0, |sum: i64, n| sum.saturating_add(n.max(0)));
        let message = if nodes.is_empty() {
            format!(
                "none of {max} pods fits, since no ready node matches the nodeSelector and tolerations of the pool: \
                 correct them, or add a node with {resource}"
            )
        } else {
            format!(
                "{pods} of {max} pods with {each} {resource} each fit: {} nodes have {}, of which other pods hold {}. \
                 All GPUs of a pod must be on one node. Add nodes, or lower scaling.max",
                nodes.len(),
                total(|node| node.allocatable),
                total(|node| node.others),
            )
        };
        limit(pods, message);
    }
    for Quota { name, hard, others } in quotas {
        let pods = fit(hard.max(&0).saturating_sub(*others.max(&0)));
        let message = format!(
            "{pods} of {max} pods with {each} {resource} each fit: ResourceQuota {name} allows {hard}, \
             of which other pods hold {others}. Raise it, or lower scaling.max"
        );
        limit(pods, message);
    }
    capacity
}
