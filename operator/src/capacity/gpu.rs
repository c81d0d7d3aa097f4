//! How many pods with GPUs there is room for.

/// A node on which the pool's pods may run: it has their labels, they tolerate its taints, it is ready and not cordoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// GPUs that the node has for pods.
    pub allocatable: i64,
    /// Those that pods of others hold.
    pub others: i64,
}

/// A `ResourceQuota` on `requests.` of the resource, in the pool's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    pub name: String,
    pub hard: i64,
    /// GPUs that count against it and are not this pool's.
    pub others: i64,
}

/// The pods that may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuCapacity {
    /// Never more than `max`.
    pub pods: u32,
    /// The arithmetic, and what to do where it is less than `max`.
    pub words: String,
}

/// Room for up to `max` pods with `each` GPUs. `nodes` is None where nodes are made as they are needed: then only quotas bind.
pub fn gpu_capacity(max: u32, each: u32, resource: &str, nodes: Option<&[Node]>, quotas: &[Quota]) -> GpuCapacity {
    let each = i64::from(each.max(1));
    let fit = |free: i64| u32::try_from(free.max(0) / each).unwrap_or(u32::MAX);
    let mut gpu_capacity =
        GpuCapacity { pods: max, words: format!("{max} pods with {each} {resource} each have room") };
    let mut narrow = |pods: u32, words: String| {
        if pods < gpu_capacity.pods {
            gpu_capacity = GpuCapacity { pods, words };
        }
    };
    if let Some(nodes) = nodes {
        let free = |node: &Node| node.allocatable.max(0).saturating_sub(node.others.max(0));
        let pods = nodes.iter().map(|node| fit(free(node))).fold(0, u32::saturating_add);
        let total = |of: fn(&Node) -> i64| nodes.iter().map(of).fold(0, |sum: i64, n| sum.saturating_add(n.max(0)));
        let words = if nodes.is_empty() {
            format!(
                "no ready node matches the pool's nodeSelector and tolerations, so none of {max} pods has room: correct them, or add a node with {resource}"
            )
        } else {
            format!(
                "{pods} of {max} pods with {each} {resource} each have room: {} nodes have {}, of which others hold {}; a pod's must lie on one node. \
                 Add nodes, or lower scaling.max",
                nodes.len(),
                total(|node| node.allocatable),
                total(|node| node.others),
            )
        };
        narrow(pods, words);
    }
    for Quota { name, hard, others } in quotas {
        let pods = fit(hard.max(&0).saturating_sub(*others.max(&0)));
        let words = format!(
            "{pods} of {max} pods with {each} {resource} each have room: quota {name} allows {hard}, of which others hold {others}. Raise it, or lower scaling.max"
        );
        narrow(pods, words);
    }
    gpu_capacity
}
