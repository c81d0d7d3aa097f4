//! What goes with the API's Deployment. Pure.

use kube::api::ApiResource;

use crate::{
    controllers::platform::build::workloads::{API_PORT_NAME, API_SERVICE_PORT},
    resources::{
        horizontal_pod_autoscaler::horizontal_pod_autoscaler, http_route, ingress::ingress, manifest::Manifest,
        owner::Owner, pod_disruption_budget::pod_disruption_budget,
    },
    spec::{defaults, names, settings::Settings},
};

/// What goes with the API's Deployment, under its name. A kind that is `missing` from the cluster is left out.
pub fn api_exposure(settings: &Settings, owner: &Owner, missing: &[ApiResource]) -> Vec<Manifest> {
    let name = format!("{}-api", settings.name);
    let meta = || owner.meta(name.clone(), "api");
    let mut all = Vec::new();
    if let Some(bounds) = settings.api_replicas.scaling() {
        all.push(Manifest::of(&horizontal_pod_autoscaler(meta(), "api", bounds, settings.api_targets)));
    }
    if defaults::is_redundant(settings.environment) {
        all.push(Manifest::of(&pod_disruption_budget(meta(), names::selector(&settings.name, "api"))));
    }
    if let Some(way) = settings.ingress.clone() {
        let tls = way.secret_ref.map(|secret| secret.name);
        all.push(Manifest::of(&ingress(
            meta(),
            way.annotations,
            way.class_name,
            &way.host,
            tls,
            (&name, API_PORT_NAME),
        )));
    }
    if let Some(way) = settings.route.as_ref().filter(|_| !missing.contains(&http_route::resource())) {
        all.push(http_route::http_route(meta(), &way.parent_refs, &way.host, (&name, API_SERVICE_PORT)));
    }
    all
}
