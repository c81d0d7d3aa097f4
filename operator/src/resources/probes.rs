//! Startup, readiness and liveness probes of a container.

use k8s_openapi::{
    api::core::v1::{ExecAction, HTTPGetAction, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// Name of the port for probes and metrics.
pub const OPERATIONS: &str = "operations";

/// How the kubelet checks that a container is alive and ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probes {
    /// No probes: the container of a Job.
    None,
    /// `/livez` and `/readyz` on the operations port.
    Operations,
    /// A command that exits with 0 while the server answers.
    Command(&'static [&'static str]),
    /// A path on the container's own port.
    Http(&'static str),
    /// A TCP connection to the container's own port.
    Tcp,
}

impl Probes {
    /// Polls every second, so that a fast start is noticed at once. Allows five minutes in all,
    /// since a node may be busy.
    pub fn startup(&self, port: &str) -> Option<Probe> {
        self.probe("/readyz", port, 1, 300)
    }

    /// Takes a pod out of its Services after 10 s of failures.
    pub fn readiness(&self, port: &str) -> Option<Probe> {
        self.probe("/readyz", port, 5, 2)
    }

    /// Restarts a container after a minute of failures.
    pub fn liveness(&self, port: &str) -> Option<Probe> {
        self.probe("/livez", port, 10, 6)
    }

    /// `path` is the one on the operations port; `port` is the name of the container's own.
    fn probe(&self, path: &str, port: &str, period_seconds: i32, failure_threshold: i32) -> Option<Probe> {
        let at = |name: &str| IntOrString::String(name.to_owned());
        let get = |path: &str, name: &str| HTTPGetAction {
            path: Some(path.to_owned()),
            port: at(name),
            scheme: Some("HTTP".into()),
            ..HTTPGetAction::default()
        };
        let check = match self {
            Self::None => return None,
            Self::Operations => Probe { http_get: Some(get(path, OPERATIONS)), ..Probe::default() },
            Self::Http(path) => Probe { http_get: Some(get(path, port)), ..Probe::default() },
            Self::Tcp => Probe { tcp_socket: Some(TCPSocketAction { port: at(port), host: None }), ..Probe::default() },
            Self::Command(command) => Probe {
                exec: Some(ExecAction { command: Some(command.iter().map(|word| (*word).to_owned()).collect()) }),
                ..Probe::default()
            },
        };
        Some(Probe {
            period_seconds: Some(period_seconds),
            failure_threshold: Some(failure_threshold),
            timeout_seconds: Some(5),
            ..check
        })
    }
}
