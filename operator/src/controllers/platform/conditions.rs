//! Computes the conditions of a platform from its plan and its observed state. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;

use crate::{
    controllers::{
        apply::Rejection,
        condition::{Condition, ConditionStatus, WAITING_FOR_CORRECTION, condition, find},
        health::{degraded_parts, grade},
        platform::{
            build::bundled_services::bundled_components,
            credentials::{Problem, profile_source},
            input::PlatformInput,
            plan::{Plan, SETUP_RETRY, Stage},
            validate::ValidPlatform,
        },
    },
    resources::http_route,
    spec::{
        component::Component,
        secrets::bundled_secret,
        settings::{Settings, Source},
    },
};

/// The conditions of a platform.
///
/// `rejection` is the first write of the plan that the API server refused; `unmonitored` is its
/// message about a refused PodMonitor or PrometheusRule.
pub fn conditions(
    previous: &[metav1::Condition],
    valid: &ValidPlatform,
    plan: &Plan,
    rejection: Option<&Rejection>,
    unmonitored: Option<&str>,
) -> Vec<Condition> {
    let rejected = rejection.map(|rejection| Problem {
        component: Component::Api,
        reason: rejection.reason,
        message: rejection.message.clone(),
    });
    let view = View { previous, valid, input: &valid.input, plan, rejected, unmonitored };
    let mut all = vec![view.ready()];
    all.extend(Component::BACKING.map(|component| view.backing(component)));
    all.extend([view.profile_source(), view.budget()]);
    all.extend(view.exposed());
    all.extend(view.healthy());
    all.extend(view.monitoring_configured());
    all.extend([view.reconciling(), view.stalled()]);
    all
}

/// Name of the Secret with the credentials of a backing service.
fn secret_of(settings: &Settings, component: Component) -> String {
    let named = match component {
        Component::Database => &settings.database,
        Component::Broker => &settings.broker,
        Component::Cache => &settings.cache,
        Component::ObjectStore => match &settings.object_store {
            Source::Named(store) => return store.secret_ref.name.clone(),
            Source::Bundled => &Source::Bundled,
        },
        Component::ProfileSource | Component::Api => &Source::Bundled,
    };
    match named {
        Source::Named(name) => name.clone(),
        Source::Bundled => bundled_secret(&settings.name, component),
    }
}

/// The inputs of the conditions.
struct View<'a> {
    previous: &'a [metav1::Condition],
    valid: &'a ValidPlatform,
    input: &'a PlatformInput,
    plan: &'a Plan,
    rejected: Option<Problem>,
    unmonitored: Option<&'a str>,
}

impl View<'_> {
    fn problems(&self) -> Vec<&Problem> {
        let planned = match &self.plan.stage {
            Stage::Refused(problems) => problems.as_slice(),
            _ => &[],
        };
        planned.iter().chain(&self.rejected).collect()
    }

    /// Default pools that do not serve, each with its cause.
    fn idle_pools(&self) -> Vec<String> {
        self.input
            .pools
            .iter()
            .filter(|pool| {
                pool.metadata.owner_references.iter().flatten().any(|owner| owner.uid == self.input.owner.reference.uid)
            })
            .filter_map(|pool| {
                let name = pool.metadata.name.clone()?;
                match self.input.observed.pools.get(&name) {
                    Some(rollout) if rollout.serves() => None,
                    Some(rollout) => {
                        Some(rollout.trouble.as_ref().map_or(name.clone(), |trouble| format!("{name} ({trouble})")))
                    }
                    None => Some(name),
                }
            })
            .collect()
    }

    /// The parts that do not serve yet; empty if all of them serve.
    fn not_serving(&self) -> Vec<String> {
        let mut missing = Vec::new();
        match &self.input.observed.api {
            Some(api) if api.serves() => {}
            Some(api) => {
                missing.push(api.trouble.as_ref().map_or("the API".into(), |trouble| format!("the API ({trouble})")));
            }
            None => missing.push("the API".into()),
        }
        if self.input.pools.is_empty() {
            missing.push("the worker pools".into());
        }
        missing.extend(self.idle_pools().into_iter().map(|name| format!("pool {name}")));
        missing
    }

    fn ready(&self) -> Condition {
        let problems = self.problems();
        if let Some(first) = problems.first() {
            let words: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
            return condition(
                "Ready",
                false,
                first.reason,
                sentence(&format!("{}{}", words.join("; "), self.existing_pods())),
            );
        }
        if let Stage::SetupFailed { report, .. } = &self.plan.stage {
            let about = report.component.map(|component| format!(" at {component}")).unwrap_or_default();
            let words = format!(
                "the setup failed{about}: {}; it is retried every {} s{}",
                report.message.trim_end_matches('.'),
                SETUP_RETRY.as_secs(),
                self.existing_pods()
            );
            return condition("Ready", false, "SetupFailed", sentence(&words));
        }
        let missing = self.not_serving();
        if missing.is_empty() {
            return condition(
                "Ready",
                true,
                "Serving",
                format!(
                    "The API serves at {} and every default pool works.{}",
                    self.input.settings.url(),
                    self.paused()
                ),
            );
        }
        let (reason, words) = match &self.plan.stage {
            Stage::WaitingForServers(servers) => {
                let names: Vec<String> = servers
                    .iter()
                    .map(|component| {
                        let trouble =
                            self.input.observed.servers.get(component).and_then(|server| server.trouble.as_ref());
                        trouble.map_or_else(
                            || component.bundled().to_owned(),
                            |trouble| format!("{} ({trouble})", component.bundled()),
                        )
                    })
                    .collect();
                ("Starting", format!("waiting for {}", names.join(", ")))
            }
            Stage::SettingUp { trouble } => {
                let trouble = trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
                (
                    "SettingUp",
                    format!(
                        "the setup Job {} prepares the backing services{trouble}",
                        self.plan.setup_job.as_deref().unwrap_or_default()
                    ),
                )
            }
            _ => ("Starting", format!("waiting for {}", missing.join(", "))),
        };
        condition("Ready", false, reason, sentence(&words) + &self.paused())
    }

    fn existing_pods(&self) -> &'static str {
        if self.input.observed.api.is_some() { "; existing pods keep running" } else { "" }
    }

    fn paused(&self) -> String {
        if self.input.settings.paused { " It is paused: the operator changes nothing.".into() } else { String::new() }
    }

    fn backing(&self, component: Component) -> Condition {
        let kind = component.condition();
        let settings = &self.input.settings;
        if let Some(problem) = self.problems().into_iter().find(|problem| problem.component == component) {
            return condition(kind, false, problem.reason, sentence(&problem.message));
        }
        let bundled = bundled_components(settings).contains(&component);
        let server = self.input.observed.servers.get(&component);
        if bundled && server.is_none_or(|server| server.ready == 0) {
            let trouble = server
                .and_then(|server| server.trouble.as_ref())
                .map(|trouble| format!(": {trouble}"))
                .unwrap_or_default();
            return condition(
                kind,
                false,
                "Starting",
                sentence(&format!("{} is starting{trouble}", component.bundled())),
            );
        }
        let secret = secret_of(settings, component);
        match &self.plan.stage {
            Stage::Running => {
                let words = if bundled {
                    format!("{} is ready", component.bundled())
                } else {
                    format!("{component} was reached with the credentials of Secret {secret}")
                };
                condition(kind, true, "SetupSucceeded", sentence(&words))
            }
            Stage::SetupFailed { report, .. } => match report.component {
                Some(failed) if failed == component => condition(
                    kind,
                    false,
                    "SetupFailed",
                    format!("{} Its address and login come from Secret {secret}.", sentence(&report.message)),
                ),
                // The setup checks the services in order and stops at the first failure.
                Some(failed) if is_checked_before(component, failed) => condition(
                    kind,
                    true,
                    "Reached",
                    sentence(&format!("{component} was reached with the credentials of Secret {secret}")),
                ),
                _ => condition(
                    kind,
                    ConditionStatus::Unknown,
                    "NotChecked",
                    "The setup failed before it checked this service.",
                ),
            },
            Stage::Refused(_) | Stage::WaitingForServers(_) | Stage::SettingUp { .. } => self.previous_result(kind),
        }
    }

    /// The previous result stays until the setup has a new one.
    fn previous_result(&self, kind: &'static str) -> Condition {
        match find(self.previous, kind) {
            Some(old) if old.status == "True" => condition(kind, true, old.reason.clone(), old.message.clone()),
            Some(old) if old.status == "False" && old.reason == "SetupFailed" => {
                condition(kind, false, old.reason.clone(), old.message.clone())
            }
            _ => condition(kind, ConditionStatus::Unknown, "NotChecked", "The setup Job has not checked it yet."),
        }
    }

    fn profile_source(&self) -> Condition {
        let kind = Component::ProfileSource.condition();
        match profile_source(&self.input.settings, &self.input.secrets) {
            Ok(mount) => condition(
                kind,
                true,
                "Configured",
                format!("Profiles are fetched with the token of Secret {}.", mount.secret),
            ),
            Err(problem) => condition(kind, false, problem.reason, sentence(&problem.message)),
        }
    }

    fn budget(&self) -> Condition {
        let kind = "ConnectionBudget";
        let budget = &self.valid.budget;
        match budget.verdict.as_ref().and_then(|words| budget.api.as_ref().map(|_| words)) {
            Ok(words) => condition(kind, true, "Fits", sentence(words)),
            Err(refusal) => condition(kind, false, "Exceeded", sentence(&refusal.to_string())),
        }
    }

    /// Whether the API is exposed to clients outside the cluster; none if the spec does not ask for
    /// it.
    fn exposed(&self) -> Option<Condition> {
        let (settings, kind) = (&self.input.settings, "Exposed");
        if settings.route.is_some() && self.input.observed.missing.contains(&http_route::resource()) {
            let words = "The cluster knows no HTTPRoute of gateway.networking.k8s.io/v1: install the Gateway API, or use spec.api.ingress.";
            return Some(condition(kind, false, "GatewayApiMissing", words));
        }
        let ingress = settings.ingress.iter().map(|ingress| format!("Ingress {}", ingress.host));
        let ways: Vec<String> =
            ingress.chain(settings.route.iter().map(|route| format!("HTTPRoute {}", route.host))).collect();
        if ways.is_empty() {
            return None;
        }
        Some(match self.plan.stage {
            Stage::Running => {
                condition(kind, true, "Applied", sentence(&format!("the API is exposed by {}", ways.join(" and "))))
            }
            _ => condition(kind, ConditionStatus::Unknown, "NotApplied", "It is applied after the setup."),
        })
    }

    /// The health score, while the API reports it. The message changes only with the grade.
    fn healthy(&self) -> Option<Condition> {
        let health = self.input.observed.health.as_ref()?;
        let degraded = degraded_parts(health);
        if degraded.is_empty() {
            return Some(condition("Healthy", true, "Healthy", "The health score is 80 or more of 100."));
        }
        let words = format!(
            "The health score is {} of 100, because of: {}. See GET /admin/v1/health or the console.",
            grade(health),
            degraded.join(", ")
        );
        Some(condition("Healthy", false, "Degraded", words))
    }

    /// Present only while the API server refuses the PodMonitor or the PrometheusRule.
    fn monitoring_configured(&self) -> Option<Condition> {
        let words = self.unmonitored?;
        let words = format!("{words}; no alert fires until it is corrected: see spec.monitoring");
        Some(condition("MonitoringConfigured", false, "Refused", sentence(&words)))
    }

    fn reconciling(&self) -> Condition {
        let kind = "Reconciling";
        let rolling = || {
            let api = self.input.observed.api.as_ref().is_some_and(|api| !api.complete);
            let pools = self
                .input
                .observed
                .pools
                .iter()
                .filter(|(_, rollout)| !rollout.complete)
                .map(|(name, _)| format!("pool {name}"));
            api.then(|| "the API".to_owned()).into_iter().chain(pools).collect::<Vec<_>>()
        };
        match &self.plan.stage {
            _ if !self.problems().is_empty() => condition(kind, false, "Stalled", WAITING_FOR_CORRECTION),
            Stage::SetupFailed { .. } => {
                condition(kind, false, "Stalled", "Waiting for the next attempt at the setup.")
            }
            Stage::WaitingForServers(_) | Stage::SettingUp { .. } => {
                let ready = self.ready();
                condition(
                    kind,
                    true,
                    "SettingUp",
                    if ready.status == ConditionStatus::True { "The setup Job runs.".into() } else { ready.message },
                )
            }
            _ => match (rolling(), self.not_serving()) {
                (rolling, missing) if rolling.is_empty() && missing.is_empty() => {
                    condition(kind, false, "UpToDate", "Everything matches the spec.")
                }
                (rolling, missing) if rolling.is_empty() => {
                    condition(kind, true, "Starting", sentence(&format!("waiting for {}", missing.join(", "))))
                }
                (rolling, _) => {
                    condition(kind, true, "RollingOut", sentence(&format!("rolling out {}", rolling.join(", "))))
                }
            },
        }
    }

    fn stalled(&self) -> Condition {
        let ready = self.ready();
        let stalled = !self.problems().is_empty() || matches!(self.plan.stage, Stage::SetupFailed { .. });
        if stalled {
            condition("Stalled", true, ready.reason, ready.message)
        } else {
            condition("Stalled", false, "NotStalled", "Nothing blocks the reconciliation.")
        }
    }
}

fn is_checked_before(one: Component, other: Component) -> bool {
    let place = |component| Component::BACKING.iter().position(|c| *c == component);
    place(one) < place(other)
}

/// `text` with a capital first letter and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.trim().chars();
    let Some(first) = chars.next() else { return String::new() };
    let rest = chars.as_str();
    let mut whole: String = first.to_uppercase().chain(rest.chars()).collect();
    if !whole.ends_with(['.', '!', '?', '…']) {
        whole.push('.');
    }
    whole
}
