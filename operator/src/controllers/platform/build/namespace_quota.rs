//! ResourceQuota and LimitRange of a namespace that belongs to one platform. Pure.
//!
//! The quota is the maximum of the platform's pods plus some headroom.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::{
    controllers::platform::build::bundled_services::{bundled_components, bundled_resources},
    crd::{Resources, WorkerPool},
    resources::{limit_range::limit_range, manifest::Manifest, owner::Owner, resource_quota::resource_quota},
    spec::{
        defaults,
        pool::{container_resources, pool_replicas},
        quantity::{of_thousandths, thousandths},
        settings::Settings,
    },
};

/// Headroom in percent, for pods that terminate while their successors start, and for a user's own.
const HEADROOM_PERCENT: i128 = 25;

/// The quota, and defaults for containers without requests or limits.
pub fn namespace_quota(settings: &Settings, pools: &[WorkerPool], owner: &Owner) -> Vec<Manifest> {
    if !settings.namespace_limits {
        return Vec::new();
    }
    let meta = || owner.meta(format!("{}-limits", settings.name), "platform");
    vec![
        Manifest::of(&limit_range(meta(), &defaults::set_up_resources())),
        Manifest::of(&resource_quota(meta(), hard(settings, pools))),
    ]
}

/// The maximum requests and limits of the platform's pods, with headroom.
fn hard(settings: &Settings, pools: &[WorkerPool]) -> BTreeMap<String, Quantity> {
    let mut sum = Sum::default();
    sum.add(i128::from(settings.api_replicas.pods_at_most()), &settings.api_resources);
    for pool in pools.iter().filter(|pool| pool.metadata.deletion_timestamp.is_none()) {
        sum.add(i128::from(pool_replicas(&pool.spec).pods_at_most()), &container_resources(settings, &pool.spec));
    }
    for component in bundled_components(settings) {
        sum.add(1, &bundled_resources(component));
    }
    // A terminating setup pod and its successor.
    sum.add(2, &defaults::set_up_resources());
    sum.with_headroom()
}

#[derive(Default)]
struct Sum {
    pods: i128,
    /// Thousandths by the resource's name in a quota, such as `requests.cpu`.
    resources: BTreeMap<String, i128>,
}

impl Sum {
    fn add(&mut self, pods: i128, container: &Resources) {
        self.pods += pods;
        let lists = [("requests", &container.requests), ("limits", &container.limits)];
        for (list, (name, quantity)) in
            lists.into_iter().flat_map(|(list, map)| map.iter().flatten().map(move |entry| (list, entry)))
        {
            // Quotas support only requests of extended resources, and their limits equal their
            // requests.
            let name = match (name.contains('/'), list) {
                (true, _) => format!("requests.{name}"),
                (false, list) => format!("{list}.{name}"),
            };
            let each = thousandths(quantity).unwrap_or(0).max(0);
            *self.resources.entry(name).or_default() += pods.saturating_mul(each);
        }
    }

    fn with_headroom(self) -> BTreeMap<String, Quantity> {
        let more = |number: i128| number + (number * HEADROOM_PERCENT).div_euclid(100);
        let mut hard: BTreeMap<_, _> = self
            .resources
            .into_iter()
            .map(|(name, number)| {
                let quantity = match name.as_str() {
                    // GPUs are whole units, so they get no headroom.
                    extended if extended.contains('/') => of_thousandths(number, false),
                    binary => of_thousandths(more(number), binary.ends_with("memory") || binary.ends_with("storage")),
                };
                (name, quantity)
            })
            .collect();
        hard.insert("pods".into(), Quantity((more(self.pods * 1_000).div_euclid(1_000) + 1).to_string()));
        hard
    }
}
