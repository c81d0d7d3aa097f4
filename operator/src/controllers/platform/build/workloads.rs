//! The workloads of a platform: configuration, setup Job, API. Pure.

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{ConfigMap, Service},
};
use switchyard_contract::{
    API_PORT, Config, ConnectionPool, Database, Lane, OPERATIONS_PORT, ObjectStore, Platform, ProfileSource, Recovery,
    Role, RoleGrant, SourceLimits, Workload,
};

use crate::{
    controllers::platform::credentials::{Credentials, Problem},
    resources::{
        config_map::{config_map, document},
        deployment::deployment,
        job::job,
        owner::Owner,
        pod::{self, Pod, SecretMount},
        probes::{OPERATIONS, Probes},
        service::service,
    },
    spec::{
        component::Component,
        connection_budget::Budget,
        defaults,
        images::Images,
        names,
        replicas::Replicas,
        settings::{Settings, Source},
    },
};

/// Bucket of the bundled object store.
const BUNDLED_BUCKET: &str = "switchyard";
/// Name of the API's port in its pods and its Service.
pub const API_PORT_NAME: &str = "http";
/// Number of that port in the Service.
pub const API_SERVICE_PORT: i32 = 80;
/// Component label of the setup Job and its pod.
pub const SETUP: &str = "setup";

/// The configuration of one workload, which logs in as `role` with `connections`.
pub fn config(
    settings: &Settings,
    credentials: &Credentials,
    workload: Workload,
    role: Role,
    connections: ConnectionPool,
) -> Config {
    Config {
        platform: Platform { namespace: settings.namespace.clone(), name: settings.name.clone() },
        workload,
        database: Database { role, pooler: settings.pooler, connections },
        lanes: settings.lanes,
        tiers: settings.tiers,
        retry: settings.retry.clone(),
        analysis: settings.analysis.clone(),
        object_store: Some(match &settings.object_store {
            Source::Bundled => ObjectStore {
                endpoint: format!("http://{}-s3:9000", settings.name),
                bucket: BUNDLED_BUCKET.into(),
                region: "us-east-1".into(),
            },
            Source::Named(store) => ObjectStore {
                endpoint: store.endpoint.clone(),
                bucket: store.bucket.clone(),
                region: store.region.clone().unwrap_or_else(|| "us-east-1".into()),
            },
        }),
        profile_source: settings.profile_source.as_ref().filter(|_| credentials.profile_source.is_some()).map(
            |source| ProfileSource {
                endpoint: source.endpoint.clone(),
                actor: source.actor.clone(),
                limits: SourceLimits::default(),
            },
        ),
        telemetry: settings.monitoring.telemetry.clone(),
        recovery: settings.recovery,
    }
}

/// The setup of a platform: a Job and its configuration.
///
/// The Job's name has a digest of its input, so that a change creates a new Job. The controller of
/// the pools computes the same name from the same input.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Its configuration.
    pub config: ConfigMap,
    /// The Job.
    pub job: Job,
    /// Name of the Job.
    pub name: String,
}

/// Builds the setup.
pub fn setup(settings: &Settings, credentials: &Credentials, budget: &Budget, images: &Images, owner: &Owner) -> Setup {
    let roles = budget
        .allocations
        .iter()
        .map(|allocation| RoleGrant {
            role: allocation.role,
            connections: allocation.total(),
            statement_timeout_seconds: allocation.statement_timeout_seconds,
        })
        .collect();
    let connections = ConnectionPool { size: 2, overflow: 0, wait_timeout_seconds: 20, statement_timeout_seconds: 300 };
    // The setup does not use the profile source, so a new token must not start another one.
    let config = Config {
        profile_source: None,
        telemetry: None,
        recovery: Recovery::default(),
        ..config(settings, credentials, Workload::Setup { roles }, Role::Api, connections)
    };
    let secrets: Vec<SecretMount> = merged(
        [Some(credentials.database.clone()), credentials.database_admin.clone(), credentials.roles.clone()]
            .into_iter()
            .flatten()
            .chain([credentials.broker.clone(), credentials.cache.clone(), credentials.object_store.clone()]),
    );
    let text = document(&config);
    let digest = names::digest([text.as_bytes(), pod::secrets_digest(&secrets).as_bytes(), images.api.as_bytes()]);
    let name = format!("{}-setup-{}", settings.name, &digest[..10]);
    let config_name = format!("{}-setup", settings.name);
    let template = pod::template(
        &Pod {
            args: vec!["setup".into()],
            resources: defaults::set_up_resources(),
            config: Some((config_name.clone(), names::digest([text.as_bytes()]))),
            secrets,
            grace_seconds: 5,
            restart: Some("Never"),
            ..Pod::new(
                names::selector(&settings.name, SETUP),
                names::labels(&settings.name, SETUP),
                "setup",
                images.api.clone(),
            )
        },
        images,
    );
    Setup { config: config_map(owner, &config_name, SETUP, &config), job: job(owner, &name, SETUP, template), name }
}

/// The API: configuration, Deployment, Service.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiObjects {
    /// Its configuration.
    pub config: ConfigMap,
    /// Its Deployment.
    pub deployment: Deployment,
    /// Its Service.
    pub service: Service,
    /// Whether an autoscaler owns the Deployment's replicas.
    pub scaled: bool,
}

/// Builds the API. `exists` says whether its Deployment exists; see [`starting_replicas`].
///
/// # Errors
/// If `spec.api.podTemplate` yields no valid pod template.
pub fn api(
    settings: &Settings,
    credentials: &Credentials,
    connections: ConnectionPool,
    images: &Images,
    owner: &Owner,
    exists: bool,
) -> Result<ApiObjects, Problem> {
    let name = format!("{}-api", settings.name);
    let config = config(settings, credentials, Workload::Api, Role::Api, connections);
    let selector = names::selector(&settings.name, "api");
    let template = pod::template(
        &Pod {
            args: vec!["serve".into()],
            port: Some((API_PORT_NAME, i32::from(API_PORT))),
            probes: Probes::Operations,
            resources: settings.api_resources.clone(),
            config: Some((name.clone(), names::digest([document(&config).as_bytes()]))),
            secrets: merged(
                [Some(credentials.database.clone()), credentials.role(Role::Api)].into_iter().flatten().chain([
                    credentials.broker.clone(),
                    credentials.cache.clone(),
                    credentials.admin.clone(),
                ]),
            ),
            grace_seconds: defaults::grace_seconds(settings.environment, 15),
            spread: defaults::is_redundant(settings.environment),
            priority: priority(settings, images, Lane::Critical),
            ..Pod::new(selector.clone(), names::labels(&settings.name, "api"), "api", images.api.clone())
        },
        images,
    );
    let template =
        pod::overridden(template, settings.api_pod_template.as_ref(), &selector).map_err(|error| Problem {
            component: Component::Api,
            reason: "PodTemplateInvalid",
            message: format!("spec.api.podTemplate makes no pod template: {error}"),
        })?;
    let replicas = starting_replicas(settings.api_replicas, exists);
    Ok(ApiObjects {
        config: config_map(owner, &name, "api", &config),
        deployment: deployment(owner.meta(&name, "api"), selector, replicas, template),
        service: service(
            owner,
            &name,
            "api",
            &[(API_SERVICE_PORT, API_PORT_NAME), (i32::from(OPERATIONS_PORT), OPERATIONS)],
        ),
        scaled: settings.api_replicas.scaling().is_some(),
    })
}

/// The PriorityClass of pods whose most urgent lane is `lane`. None in development, or if the
/// installation has no priority classes.
pub fn priority(settings: &Settings, images: &Images, lane: Lane) -> Option<String> {
    let classes = images.priority_classes.as_ref().filter(|_| defaults::is_redundant(settings.environment))?;
    Some(format!("{classes}-{lane}"))
}

/// The replicas to apply. A scaled Deployment is created with its minimum; then its autoscaler owns
/// the field.
pub fn starting_replicas(replicas: Replicas, exists: bool) -> Option<i32> {
    match replicas {
        Replicas::Fixed(replicas) => Some(replicas),
        Replicas::Scaled(bounds) => (!exists).then_some(bounds.min()),
    }
}

/// Merges mounts of the same Secret into the same directory.
pub fn merged(mounts: impl IntoIterator<Item = SecretMount>) -> Vec<SecretMount> {
    let mut all: Vec<SecretMount> = Vec::new();
    for mount in mounts {
        match all.iter_mut().find(|other| other.secret == mount.secret && other.group == mount.group) {
            Some(other) => other.values.extend(mount.values),
            None => all.push(mount),
        }
    }
    all
}
