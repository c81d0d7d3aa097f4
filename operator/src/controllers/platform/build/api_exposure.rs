//! Autoscaler, disruption budget, Ingress and HTTPRoute of the API. Pure.

use kube::api::ApiResource;

use crate::{
    controllers::platform::build::workloads::{API_PORT_NAME, API_SERVICE_PORT},
    resources::{
        horizontal_pod_autoscaler::horizontal_pod_autoscaler, http_route, ingress::ingress, manifest::Manifest,
        owner::Owner, pod_disruption_budget::pod_disruption_budget,
    },
    spec::{defaults, names, settings::Settings},
};

/// The objects that scale, protect and expose the API's Deployment. They have its name. Objects of
/// `missing` kinds are left out.
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
    if let Some(ingress_settings) = settings.ingress.clone() {
        let tls = ingress_settings.secret_ref.map(|secret| secret.name);
        all.push(Manifest::of(&ingress(
            meta(),
            ingress_settings.annotations,
            ingress_settings.class_name,
            &ingress_settings.host,
            tls,
            (&name, API_PORT_NAME),
        )));
    }
    if let Some(route) = settings.route.as_ref().filter(|_| !missing.contains(&http_route::resource())) {
        all.push(http_route::http_route(meta(), &route.parent_refs, &route.host, (&name, API_SERVICE_PORT)));
    }
    all
}
