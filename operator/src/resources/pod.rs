//! Pod templates. Every pod passes the restricted Pod Security standard.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
        KeyToPath, PodSecurityContext, PodSpec, PodTemplateSpec, ProjectedVolumeSource, ResourceFieldSelector,
        SeccompProfile, SecretProjection, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
        VolumeProjection,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};
use switchyard_contract::{OPERATIONS_PORT, files};

use crate::{
    crd::{PodTemplate, Resources},
    resources::{
        merge::merge,
        probes::{OPERATIONS, Probes},
    },
    spec::{images::Images, names},
};

/// Name of the writable volume of every container, mounted at `/tmp`.
pub const SCRATCH: &str = "tmp";

/// User and group of every container.
const NONROOT: i64 = 65532;

/// Some keys of one Secret, mounted as files in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// Name of the Secret.
    pub secret: String,
    /// Directory below `secrets/`.
    pub group: &'static str,
    /// The mounted keys. Their values enter the digest only.
    pub values: BTreeMap<String, Vec<u8>>,
}

/// Value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Env {
    /// A literal value.
    Value(String),
    /// The container's memory limit in bytes; the node's allocatable memory if it has none.
    MemoryLimit,
}

/// What differs between the pods that the operator creates.
///
/// A caller names only what differs from the defaults: `Pod { args, ..Pod::new(…) }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Labels that its controller selects it by.
    pub selector: BTreeMap<String, String>,
    /// All labels of the pod; those of `selector` are added.
    pub labels: BTreeMap<String, String>,
    /// Name of the container.
    pub container: &'static str,
    /// Image of the container, with registry and tag or digest.
    pub image: String,
    /// Arguments of the image's entry point.
    pub args: Vec<String>,
    /// Environment variables by name.
    pub env: BTreeMap<&'static str, Env>,
    /// Name and number of the port that it serves, apart from the operations port.
    pub port: Option<(&'static str, i32)>,
    /// Startup, readiness and liveness probes.
    pub probes: Probes,
    /// Requests and limits of the container.
    pub resources: Resources,
    /// Name of the mounted ConfigMap, and the digest of its content.
    pub config: Option<(String, String)>,
    /// Keys of Secrets that are mounted below `secrets/`.
    pub secrets: Vec<SecretMount>,
    /// Name and mount path of a volume that outlives the pod. The StatefulSet claims it.
    pub data: Option<(&'static str, &'static str)>,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_seconds: i64,
    /// Restart policy; Kubernetes' default (`Always`) if none.
    pub restart: Option<&'static str>,
    /// Whether the scheduler spreads the pods over nodes and zones as far as possible.
    pub spread: bool,
    /// Name of its PriorityClass.
    pub priority: Option<String>,
}

impl Pod {
    /// A pod with one container that has no port, probes, configuration, Secrets or requests.
    ///
    /// Its grace period is Kubernetes' default, 30 s.
    pub const fn new(
        selector: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
        container: &'static str,
        image: String,
    ) -> Self {
        Self {
            selector,
            labels,
            container,
            image,
            args: Vec::new(),
            env: BTreeMap::new(),
            port: None,
            probes: Probes::None,
            resources: Resources { requests: None, limits: None },
            config: None,
            secrets: Vec::new(),
            data: None,
            grace_seconds: 30,
            restart: None,
            spread: false,
            priority: None,
        }
    }

    /// Name of the port that the probes connect to.
    fn probed_port(&self) -> &'static str {
        self.port.map_or(OPERATIONS, |(name, _)| name)
    }
}

/// The pod template of `pod`, before a user's overrides.
pub fn template(pod: &Pod, images: &Images) -> PodTemplateSpec {
    let mut labels = pod.labels.clone();
    labels.extend(pod.selector.clone());
    let mut annotations = BTreeMap::new();
    if let Some((_, digest)) = &pod.config {
        annotations.insert(names::CONFIG_DIGEST.to_owned(), digest.clone());
    }
    if !pod.secrets.is_empty() {
        annotations.insert(names::SECRETS_DIGEST.to_owned(), secrets_digest(&pod.secrets));
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            containers: vec![container(pod, images)],
            priority_class_name: pod.priority.clone(),
            restart_policy: pod.restart.map(str::to_owned),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(NONROOT),
                run_as_group: Some(NONROOT),
                fs_group: Some(NONROOT),
                fs_group_change_policy: Some("OnRootMismatch".into()),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), ..SeccompProfile::default() }),
                ..PodSecurityContext::default()
            }),
            termination_grace_period_seconds: Some(pod.grace_seconds),
            topology_spread_constraints: pod.spread.then(|| SPREAD_OVER.map(|key| spread(key, &pod.selector)).to_vec()),
            volumes: Some(volumes(pod)),
            ..PodSpec::default()
        }),
    }
}

/// Topology keys that pods are spread over.
const SPREAD_OVER: [&str; 2] = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"];

/// A soft constraint: a pod that cannot be spread is scheduled anyway.
fn spread(key: &str, selector: &BTreeMap<String, String>) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(LabelSelector { match_labels: Some(selector.clone()), match_expressions: None }),
        // Pods of older templates are about to be removed and do not count.
        match_label_keys: Some(vec!["pod-template-hash".into()]),
        ..TopologySpreadConstraint::default()
    }
}

/// Merges a user's overrides into `base`. The labels `kept` cannot be overridden, since selectors
/// use them.
///
/// # Errors
/// If the result is not a valid pod template. The message names the field.
pub fn overridden(
    base: PodTemplateSpec,
    over: Option<&PodTemplate>,
    kept: &BTreeMap<String, String>,
) -> Result<PodTemplateSpec, String> {
    let Some(over) = over else { return Ok(base) };
    let mut value = serde_json::to_value(base).map_err(|error| error.to_string())?;
    merge(&mut value, &serde_json::Value::Object(over.0.clone()));
    let mut template: PodTemplateSpec = serde_json::from_value(value).map_err(|error| error.to_string())?;
    template.metadata.get_or_insert_default().labels.get_or_insert_default().extend(kept.clone());
    Ok(template)
}

/// Digest of all mounted keys and their values.
pub fn secrets_digest(mounts: &[SecretMount]) -> String {
    names::digest(mounts.iter().flat_map(|mount| {
        [mount.secret.as_bytes(), mount.group.as_bytes()]
            .into_iter()
            .chain(mount.values.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_slice()]))
    }))
}

fn container(pod: &Pod, images: &Images) -> Container {
    let serves_operations = pod.probes == Probes::Operations;
    let mut ports: Vec<ContainerPort> = pod.port.iter().map(|(name, number)| container_port(name, *number)).collect();
    if serves_operations {
        ports.push(container_port(OPERATIONS, i32::from(OPERATIONS_PORT)));
    }
    Container {
        name: pod.container.into(),
        image: Some(pod.image.clone()),
        image_pull_policy: Some(images.pull_policy.clone()),
        args: (!pod.args.is_empty()).then(|| pod.args.clone()),
        env: (!pod.env.is_empty()).then(|| pod.env.iter().map(|(name, value)| variable(name, value)).collect()),
        ports: (!ports.is_empty()).then_some(ports),
        startup_probe: pod.probes.startup(pod.probed_port()),
        readiness_probe: pod.probes.readiness(pod.probed_port()),
        liveness_probe: pod.probes.liveness(pod.probed_port()),
        resources: Some(pod.resources.to_requirements()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts(pod)),
        ..Container::default()
    }
}

fn variable(name: &str, value: &Env) -> EnvVar {
    let (value, value_from) = match value {
        Env::Value(value) => (Some(value.clone()), None),
        Env::MemoryLimit => {
            let resource = "limits.memory".to_owned();
            // The API server would default the divisor, and the applied object would differ from
            // it.
            let field = ResourceFieldSelector { resource, divisor: Some(Quantity("1".into())), container_name: None };
            (None, Some(EnvVarSource { resource_field_ref: Some(field), ..EnvVarSource::default() }))
        }
    };
    EnvVar { name: name.into(), value, value_from }
}

fn container_port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: number,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

fn volumes(pod: &Pod) -> Vec<Volume> {
    let mut volumes = vec![Volume {
        name: SCRATCH.into(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity("256Mi".into())), medium: None }),
        ..Volume::default()
    }];
    if let Some((name, _)) = &pod.config {
        volumes.push(Volume {
            name: "config".into(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                default_mode: Some(0o444),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    if !pod.secrets.is_empty() {
        let sources = pod.secrets.iter().map(|mount| VolumeProjection {
            secret: Some(SecretProjection {
                name: mount.secret.clone(),
                items: Some(
                    mount
                        .values
                        .keys()
                        .map(|key| KeyToPath { key: key.clone(), path: format!("{}/{key}", mount.group), mode: None })
                        .collect(),
                ),
                optional: None,
            }),
            ..VolumeProjection::default()
        });
        volumes.push(Volume {
            name: "secrets".into(),
            projected: Some(ProjectedVolumeSource { sources: Some(sources.collect()), default_mode: Some(0o440) }),
            ..Volume::default()
        });
    }
    volumes
}

fn mounts(pod: &Pod) -> Vec<VolumeMount> {
    let mount = |name: &str, path: String, read_only: bool| VolumeMount {
        name: name.into(),
        mount_path: path,
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![mount(SCRATCH, "/tmp".into(), false)];
    if pod.config.is_some() {
        mounts.push(mount("config", format!("{}/{}", files::ROOT, files::CONFIG_DIR), true));
    }
    if !pod.secrets.is_empty() {
        mounts.push(mount("secrets", format!("{}/secrets", files::ROOT), true));
    }
    if let Some((name, path)) = pod.data {
        mounts.push(mount(name, path.into(), false));
    }
    mounts
}
