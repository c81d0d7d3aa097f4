//! What goes with the API's Deployment. Pure.

use super::settings::{Replicas, Settings};
use crate::{
    names, preset,
    resources::{
        Manifest, Owner, horizontal_pod_autoscaler::horizontal_pod_autoscaler,
        pod_disruption_budget::pod_disruption_budget,
    },
};

/// What goes with the API's Deployment, under its name.
pub fn companions(settings: &Settings, owner: &Owner) -> Vec<Manifest> {
    let meta = || owner.meta(format!("{}-api", settings.name), "api");
    let mut all = Vec::new();
    if let Replicas::Scaled { min, max } = settings.api_replicas {
        all.push(Manifest::of(&horizontal_pod_autoscaler(meta(), "api", (min, max), settings.api_targets)));
    }
    if preset::is_redundant(settings.environment) {
        all.push(Manifest::of(&pod_disruption_budget(meta(), names::selector(&settings.name, "api"))));
    }
    all
}
