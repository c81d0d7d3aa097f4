//! What the conditions of a platform say, from its plan and from what is there. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;

use crate::{
    controllers::{
        apply::Rejection,
        condition::{Condition, ConditionStatus, condition, find},
        health::{grade, troubles},
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

/// The conditions of a platform. `rejection` is what the API server refused while the plan was applied, and `unmonitored` what it refused of what
/// monitors the platform.
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
    all.extend(view.watched());
    all.extend([view.reconciling(), view.stalled()]);
    all
}

/// Name of the Secret that tells how to reach a backing service.
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

/// What the conditions follow from.
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

    /// Pools of the platform that do not serve, with why.
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

    /// What does not serve yet; empty when all of it does.
    fn not_serving(&self) -> Vec<String> {
        let mut missing = Vec::new();
        match &self.input.observed.api {
            Some(api) if api.serves() => {}
            Some(api) => {
                missing.push(api.trouble.as_ref().map_or("the API".into(), |trouble| format!("the API ({trouble})")))
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
                sentence(&format!("{}{}", words.join("; "), self.goes_on())),
            );
        }
        if let Stage::SetupFailed { report, .. } = &self.plan.stage {
            let about = report.component.map(|component| format!(" at {component}")).unwrap_or_default();
            let words = format!(
                "the setup failed{about}: {}; it is tried again every {} s{}",
                report.message.trim_end_matches('.'),
                SETUP_RETRY.as_secs(),
                self.goes_on()
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

    fn goes_on(&self) -> &'static str {
        if self.input.observed.api.is_some() { "; what ran before goes on running" } else { "" }
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
                    format!("{component} was reached as Secret {secret} says")
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
                // The setup goes through them in order and stops at the first that fails.
                Some(failed) if before(component, failed) => condition(
                    kind,
                    true,
                    "Reached",
                    sentence(&format!("{component} was reached as Secret {secret} says")),
                ),
                _ => condition(kind, ConditionStatus::Unknown, "NotChecked", "The setup failed before it got here."),
            },
            Stage::Refused(_) | Stage::WaitingForServers(_) | Stage::SettingUp { .. } => self.as_before(kind),
        }
    }

    /// Until the setup has a result, the last one stands.
    fn as_before(&self, kind: &'static str) -> Condition {
        match find(self.previous, kind) {
            Some(old) if old.status == "True" => condition(kind, true, old.reason.clone(), old.message.clone()),
            Some(old) if old.status == "False" && old.reason == "SetupFailed" => {
                condition(kind, false, old.reason.clone(), old.message.clone())
            }
            _ => condition(
                kind,
                ConditionStatus::Unknown,
                "NotChecked",
                "It is checked by the setup Job, which has not ended yet.",
            ),
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

    /// Whether callers from outside are led to the API; nothing where nobody asked for that.
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
                condition(kind, true, "Applied", sentence(&format!("led to the API by {}", ways.join(" and "))))
            }
            _ => condition(kind, ConditionStatus::Unknown, "NotApplied", "It follows the setup."),
        })
    }

    /// How well it does, while its API tells: in words that change with the grade alone.
    fn healthy(&self) -> Option<Condition> {
        let health = self.input.observed.health.as_ref()?;
        let troubles = troubles(health);
        if troubles.is_empty() {
            return Some(condition("Healthy", true, "InOrder", "The health score is 80 or more of 100."));
        }
        let words = format!(
            "The health score is {} of 100, because of: {}. GET /admin/v1/health and the console tell more.",
            grade(health),
            troubles.join(", ")
        );
        Some(condition("Healthy", false, "Degraded", words))
    }

    /// Whether it is watched, while it is not though it should be.
    fn watched(&self) -> Option<Condition> {
        let words = self.unmonitored?;
        let words = format!("{words}; nobody is alerted until that is mended, see spec.monitoring");
        Some(condition("Watched", false, "Refused", sentence(&words)))
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
            _ if !self.problems().is_empty() => {
                condition(kind, false, "Stalled", "Waiting for somebody to mend what stands in the way.")
            }
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
                    condition(kind, false, "UpToDate", "Everything is as the spec says.")
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
            condition("Stalled", false, "NotStalled", "Nothing stands in the way.")
        }
    }
}

fn before(one: Component, other: Component) -> bool {
    let place = |component| Component::BACKING.iter().position(|c| *c == component);
    place(one) < place(other)
}

/// A text as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.trim().chars();
    let Some(first) = chars.next() else { return String::new() };
    let rest = chars.as_str();
    // A name, such as that of a Secret or a pool, keeps its case; our own sentences begin with a word.
    let mut whole: String = first.to_uppercase().chain(rest.chars()).collect();
    if !whole.ends_with(['.', '!', '?', '…']) {
        whole.push('.');
    }
    whole
}
