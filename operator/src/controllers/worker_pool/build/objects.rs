//! The list of the objects of a pool.

use kube::api::ApiResource;

use crate::{
    controllers::{
        platform::{build::workloads::starting_replicas, credentials::Credentials},
        worker_pool::{
            build::{
                pod_template::{labels, pod_template},
                worker_config::worker_config,
            },
            input::PoolInput,
            validate::Grant,
        },
    },
    resources::{
        config_map::config_map, deployment::deployment, manifest::Manifest,
        pod_disruption_budget::pod_disruption_budget, scaled_object,
    },
    spec::{defaults, images::Images, names, pool::pool_replicas},
};

/// ConfigMap, Deployment, autoscaler and disruption budget, in the order in which to apply them.
///
/// # Errors
/// If `spec.podTemplate` yields no valid pod template. The message names the field.
pub fn objects(
    input: &PoolInput,
    grant: &Grant,
    credentials: &Credentials,
    images: &Images,
) -> Result<Vec<Manifest>, String> {
    let (spec, owner, settings) = (&input.pool.spec, &input.owner, &grant.platform.settings);
    let name = input.pool.metadata.name.as_deref().unwrap_or_default();
    let config = worker_config(name, spec, settings, credentials, grant.connections);
    let template = pod_template(name, spec, settings, credentials, &config, images)?;
    let selector = names::pool_selector(&settings.name, name);
    let replicas = starting_replicas(pool_replicas(spec), input.rollout.is_some());
    let mut metadata = owner.meta(name, "worker");
    metadata.labels.get_or_insert_default().extend(labels(&settings.name, name, spec.kind));
    let mut all = vec![
        Manifest::of(&config_map(owner, name, "worker", &config)),
        Manifest::of(&deployment(metadata.clone(), selector.clone(), replicas, template)),
    ];
    if let Some(bounds) = pool_replicas(spec).scaling() {
        let scaler = keda_scaler(&input.missing, images);
        all.push(input.load.autoscaler(metadata.clone(), name, bounds, scaler));
    }
    if defaults::is_redundant(settings.environment) {
        all.push(Manifest::of(&pod_disruption_budget(metadata, selector)));
    }
    Ok(all)
}

/// Address of the external scaler for KEDA, if the installation has one and the cluster has KEDA.
pub fn keda_scaler<'a>(missing: &[ApiResource], images: &'a Images) -> Option<&'a str> {
    images.keda_scaler.as_deref().filter(|_| !missing.contains(&scaled_object::resource()))
}
