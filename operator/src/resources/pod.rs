//! Pod templates. Every pod passes the restricted Pod Security standard.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
        ExecAction, HTTPGetAction, KeyToPath, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
        ProjectedVolumeSource, ResourceFieldSelector, SeccompProfile, SecretProjection, SecurityContext,
        TCPSocketAction, TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use switchyard_contract::{OPERATIONS_PORT, files};

use crate::{
    crd::{PodTemplate, Resources},
    resources::merge::merge,
    spec::{images::Images, names},
};

/// The volume that every container may write to, mounted at `/tmp`.
pub const SCRATCH: &str = "tmp";

/// Name of the port for probes and metrics.
pub const OPERATIONS: &str = "operations";

/// User and group of every container.
const NONROOT: i64 = 65532;

/// Some keys of one Secret, mounted as files below one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// Name of the Secret.
    pub secret: String,
    /// Folder below `secrets/`.
    pub group: &'static str,
    /// The keys, with their values, which only go into a digest.
    pub values: BTreeMap<String, Vec<u8>>,
}

/// How the kubelet finds out whether a container is alive and ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probes {
    /// None: a Job's container.
    None,
    /// `/livez` and `/readyz` on the operations port.
    Workload,
    /// A command that succeeds when the server answers.
    Command(&'static [&'static str]),
    /// A path on the container's port.
    Http(&'static str),
    /// The container's port takes connections.
    Tcp,
}

/// Value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Env {
    Value(String),
    /// Bytes of memory that the container may hold; those of the node where it has no limit.
    MemoryLimit,
}

/// What differs between our pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Labels that its controller selects it by.
    pub selector: BTreeMap<String, String>,
    /// Labels besides.
    pub labels: BTreeMap<String, String>,
    /// Name of the container.
    pub container: &'static str,
    pub image: String,
    pub args: Vec<String>,
    pub env: BTreeMap<&'static str, Env>,
    /// Name and number of the port that it serves.
    pub port: Option<(&'static str, i32)>,
    pub probes: Probes,
    pub resources: Resources,
    /// Name of the ConfigMap, and digest of what is in it.
    pub config: Option<(String, String)>,
    pub secrets: Vec<SecretMount>,
    /// Volumes that outlive the container, made by the controller: name and path.
    pub data: Option<(&'static str, &'static str)>,
    pub grace_seconds: i64,
    pub restart: Option<&'static str>,
    /// Whether its pods keep apart from each other, on nodes and in zones of their own as far as there are some.
    pub spread: bool,
    /// Name of its PriorityClass.
    pub priority: Option<String>,
}

/// The pod template of `pod`, without a user's overrides.
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

/// What pods are spread over.
const SPREAD_OVER: [&str; 2] = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"];

/// As evenly as can be; a pod that finds no better place runs where there is one.
fn spread(key: &str, selector: &BTreeMap<String, String>) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(LabelSelector { match_labels: Some(selector.clone()), match_expressions: None }),
        // Pods of an older template are on their way out, and do not count.
        match_label_keys: Some(vec!["pod-template-hash".into()]),
        ..TopologySpreadConstraint::default()
    }
}

/// `base` with a user's overrides. The labels `kept` stay, since the pods are selected by them.
///
/// # Errors
/// When the result is no pod template: says which field is wrong.
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

/// Digest of the values of all mounted keys.
pub fn secrets_digest(mounts: &[SecretMount]) -> String {
    names::digest(mounts.iter().flat_map(|mount| {
        [mount.secret.as_bytes(), mount.group.as_bytes()]
            .into_iter()
            .chain(mount.values.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_slice()]))
    }))
}

fn container(pod: &Pod, images: &Images) -> Container {
    let workload = pod.probes == Probes::Workload;
    let mut ports: Vec<ContainerPort> = pod.port.iter().map(|(name, number)| container_port(name, *number)).collect();
    if workload {
        ports.push(container_port(OPERATIONS, i32::from(OPERATIONS_PORT)));
    }
    Container {
        name: pod.container.into(),
        image: Some(pod.image.clone()),
        image_pull_policy: Some(images.pull_policy.clone()),
        args: (!pod.args.is_empty()).then(|| pod.args.clone()),
        env: (!pod.env.is_empty()).then(|| pod.env.iter().map(|(name, value)| variable(name, value)).collect()),
        ports: (!ports.is_empty()).then_some(ports),
        startup_probe: match pod.probes {
            Probes::None => None,
            // Half a second apart, so that a fast start is seen at once; five minutes in all, since a machine may be busy.
            _ => Some(Probe {
                period_seconds: Some(1),
                failure_threshold: Some(300),
                timeout_seconds: Some(5),
                ..check(pod, "/readyz")
            }),
        },
        readiness_probe: match pod.probes {
            Probes::None => None,
            _ => Some(Probe {
                period_seconds: Some(5),
                failure_threshold: Some(2),
                timeout_seconds: Some(5),
                ..check(pod, "/readyz")
            }),
        },
        liveness_probe: match pod.probes {
            Probes::None => None,
            _ => Some(Probe {
                period_seconds: Some(10),
                failure_threshold: Some(6),
                timeout_seconds: Some(5),
                ..check(pod, "/livez")
            }),
        },
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
            // The API server would write a divisor of its own.
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

fn check(pod: &Pod, path: &str) -> Probe {
    let port = |name: &str| IntOrString::String(name.to_owned());
    let own = pod.port.map_or(OPERATIONS, |(name, _)| name);
    let http = |path: &str, at: &str| HTTPGetAction {
        path: Some(path.to_owned()),
        port: port(at),
        scheme: Some("HTTP".into()),
        ..HTTPGetAction::default()
    };
    match pod.probes {
        Probes::None => Probe::default(),
        Probes::Workload => Probe { http_get: Some(http(path, OPERATIONS)), ..Probe::default() },
        Probes::Http(path) => Probe { http_get: Some(http(path, own)), ..Probe::default() },
        Probes::Tcp => Probe { tcp_socket: Some(TCPSocketAction { port: port(own), host: None }), ..Probe::default() },
        Probes::Command(command) => Probe {
            exec: Some(ExecAction { command: Some(command.iter().map(|word| (*word).to_owned()).collect()) }),
            ..Probe::default()
        },
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
