//! A platform's status from its plan and from what is there. Pure.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};

use super::{
    Component,
    backing::bundled_components,
    credentials::bundled_secret,
    plan::{Facts, Plan, SET_UP_RETRY, Stage},
    settings::{Settings, Source},
    validate::{Problem, profile_source},
};
use crate::{
    api::{AnalyticsPlatformStatus, ConnectionRow, SetupStatus},
    condition::{Statement, Truth, conditions, find, state},
    health::{grade, troubles},
    resources::http_route,
};

/// The status of a platform. `refused` is what the API server would not take while the plan was applied.
pub fn status(
    previous: &AnalyticsPlatformStatus,
    generation: Option<i64>,
    facts: &Facts,
    plan: &Plan,
    refused: Option<&Problem>,
    now: Timestamp,
) -> AnalyticsPlatformStatus {
    let look = Look { previous: &previous.conditions, facts, plan, refused };
    let mut statements = vec![look.ready()];
    statements.extend(Component::BACKING.map(|component| look.backing(component)));
    statements.extend([look.profile_source(), look.budget()]);
    statements.extend(look.exposed());
    statements.extend(look.healthy());
    statements.extend(look.watched());
    statements.extend([look.reconciling(), look.stalled()]);
    let settings = &facts.settings;
    AnalyticsPlatformStatus {
        observed_generation: generation,
        environment: Some(settings.environment),
        url: facts.observed.api.as_ref().map(|_| settings.url()),
        health: facts.observed.health.as_ref().map(grade),
        set_up: match (&plan.stage, &plan.set_up) {
            (Stage::Running, Some(job)) => Some(SetupStatus { job: job.clone() }),
            _ => previous.set_up.clone(),
        },
        connections: plan
            .budget
            .rows
            .iter()
            .map(|row| ConnectionRow {
                role: row.role,
                size: signed(row.size),
                overflow: signed(row.overflow),
                pods_at_most: signed(row.pods_at_most),
                used_at_most: signed(row.used_at_most),
            })
            .collect(),
        conditions: conditions(&previous.conditions, statements, generation, now),
    }
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
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

struct Look<'a> {
    previous: &'a [Condition],
    facts: &'a Facts,
    plan: &'a Plan,
    refused: Option<&'a Problem>,
}

impl Look<'_> {
    fn problems(&self) -> Vec<&Problem> {
        let planned = match &self.plan.stage {
            Stage::Refused(problems) => problems.as_slice(),
            _ => &[],
        };
        planned.iter().chain(self.refused).collect()
    }

    /// Pools of the platform that do not serve, with why.
    fn idle_pools(&self) -> Vec<String> {
        self.facts
            .pools
            .iter()
            .filter(|pool| {
                pool.metadata.owner_references.iter().flatten().any(|owner| owner.uid == self.facts.owner.reference.uid)
            })
            .filter_map(|pool| {
                let name = pool.metadata.name.clone()?;
                match self.facts.observed.pools.get(&name) {
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
        match &self.facts.observed.api {
            Some(api) if api.serves() => {}
            Some(api) => {
                missing.push(api.trouble.as_ref().map_or("the API".into(), |trouble| format!("the API ({trouble})")))
            }
            None => missing.push("the API".into()),
        }
        if self.facts.pools.is_empty() {
            missing.push("the worker pools".into());
        }
        missing.extend(self.idle_pools().into_iter().map(|name| format!("pool {name}")));
        missing
    }

    fn ready(&self) -> Statement {
        let problems = self.problems();
        if let Some(first) = problems.first() {
            let words: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
            return state("Ready", false, first.reason, sentence(&format!("{}{}", words.join("; "), self.goes_on())));
        }
        if let Stage::SetupFailed { report, .. } = &self.plan.stage {
            let about = report.component.map(|component| format!(" at {component}")).unwrap_or_default();
            let words = format!(
                "the setup failed{about}: {}; it is tried again every {} s{}",
                report.message.trim_end_matches('.'),
                SET_UP_RETRY.as_secs(),
                self.goes_on()
            );
            return state("Ready", false, "SetupFailed", sentence(&words));
        }
        let missing = self.not_serving();
        if missing.is_empty() {
            return state(
                "Ready",
                true,
                "Serving",
                format!(
                    "The API serves at {} and every default pool works.{}",
                    self.facts.settings.url(),
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
                            self.facts.observed.servers.get(component).and_then(|server| server.trouble.as_ref());
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
                        self.plan.set_up.as_deref().unwrap_or_default()
                    ),
                )
            }
            _ => ("Starting", format!("waiting for {}", missing.join(", "))),
        };
        state("Ready", false, reason, sentence(&words) + &self.paused())
    }

    fn goes_on(&self) -> &'static str {
        if self.facts.observed.api.is_some() { "; what ran before goes on running" } else { "" }
    }

    fn paused(&self) -> String {
        if self.facts.settings.paused { " It is paused: the operator changes nothing.".into() } else { String::new() }
    }

    fn backing(&self, component: Component) -> Statement {
        let kind = component.condition();
        let settings = &self.facts.settings;
        if let Some(problem) = self.problems().into_iter().find(|problem| problem.component == component) {
            return state(kind, false, problem.reason, sentence(&problem.message));
        }
        let bundled = bundled_components(settings).contains(&component);
        let server = self.facts.observed.servers.get(&component);
        if bundled && server.is_none_or(|server| server.ready == 0) {
            let trouble = server
                .and_then(|server| server.trouble.as_ref())
                .map(|trouble| format!(": {trouble}"))
                .unwrap_or_default();
            return state(kind, false, "Starting", sentence(&format!("{} is starting{trouble}", component.bundled())));
        }
        let secret = secret_of(settings, component);
        match &self.plan.stage {
            Stage::Running => {
                let words = if bundled {
                    format!("{} is ready", component.bundled())
                } else {
                    format!("{component} was reached as Secret {secret} says")
                };
                state(kind, true, "SetupSucceeded", sentence(&words))
            }
            Stage::SetupFailed { report, .. } => match report.component {
                Some(failed) if failed == component => state(
                    kind,
                    false,
                    "SetupFailed",
                    format!("{} Its address and login come from Secret {secret}.", sentence(&report.message)),
                ),
                // The setup goes through them in order and stops at the first that fails.
                Some(failed) if before(component, failed) => {
                    state(kind, true, "Reached", sentence(&format!("{component} was reached as Secret {secret} says")))
                }
                _ => state(kind, Truth::Unknown, "NotChecked", "The setup failed before it got here."),
            },
            Stage::Refused(_) | Stage::WaitingForServers(_) | Stage::SettingUp { .. } => self.as_before(kind),
        }
    }

    /// Until the setup has a result, the last one stands.
    fn as_before(&self, kind: &'static str) -> Statement {
        match find(self.previous, kind) {
            Some(old) if old.status == "True" => state(kind, true, old.reason.clone(), old.message.clone()),
            Some(old) if old.status == "False" && old.reason == "SetupFailed" => {
                state(kind, false, old.reason.clone(), old.message.clone())
            }
            _ => state(kind, Truth::Unknown, "NotChecked", "It is checked by the setup Job, which has not ended yet."),
        }
    }

    fn profile_source(&self) -> Statement {
        let kind = Component::ProfileSource.condition();
        match profile_source(&self.facts.settings, &self.facts.secrets) {
            Ok(mount) => state(
                kind,
                true,
                "Configured",
                format!("Profiles are fetched with the token of Secret {}.", mount.secret),
            ),
            Err(problem) => state(kind, false, problem.reason, sentence(&problem.message)),
        }
    }

    fn budget(&self) -> Statement {
        let kind = "ConnectionBudget";
        let budget = &self.plan.budget;
        match budget.verdict.as_ref().and_then(|words| budget.api.as_ref().map(|_| words)) {
            Ok(words) => state(kind, true, "Fits", sentence(words)),
            Err(refusal) => state(kind, false, "Exceeded", sentence(&refusal.to_string())),
        }
    }

    /// Whether callers from outside are led to the API; nothing where nobody asked for that.
    fn exposed(&self) -> Option<Statement> {
        let (settings, kind) = (&self.facts.settings, "Exposed");
        if settings.route.is_some() && self.facts.observed.missing.contains(&http_route::resource()) {
            let words = "The cluster knows no HTTPRoute of gateway.networking.k8s.io/v1: install the Gateway API, or use spec.api.ingress.";
            return Some(state(kind, false, "GatewayApiMissing", words));
        }
        let ingress = settings.ingress.iter().map(|ingress| format!("Ingress {}", ingress.host));
        let ways: Vec<String> =
            ingress.chain(settings.route.iter().map(|route| format!("HTTPRoute {}", route.host))).collect();
        if ways.is_empty() {
            return None;
        }
        Some(match self.plan.stage {
            Stage::Running => {
                state(kind, true, "Applied", sentence(&format!("led to the API by {}", ways.join(" and "))))
            }
            _ => state(kind, Truth::Unknown, "NotApplied", "It follows the setup."),
        })
    }

    /// How well it does, while its API tells: in words that change with the grade alone.
    fn healthy(&self) -> Option<Statement> {
        let health = self.facts.observed.health.as_ref()?;
        let troubles = troubles(health);
        if troubles.is_empty() {
            return Some(state("Healthy", true, "InOrder", "The health score is 80 or more of 100."));
        }
        let words = format!(
            "The health score is {} of 100, because of: {}. GET /admin/v1/health and the console tell more.",
            grade(health),
            troubles.join(", ")
        );
        Some(state("Healthy", false, "Degraded", words))
    }

    /// Whether it is watched, while it is not though it should be.
    fn watched(&self) -> Option<Statement> {
        let words = self.facts.observed.unwatched.as_ref()?;
        let words = format!("{words}; nobody is alerted until that is mended, see spec.monitoring");
        Some(state("Watched", false, "Refused", sentence(&words)))
    }

    fn reconciling(&self) -> Statement {
        let kind = "Reconciling";
        let rolling = || {
            let api = self.facts.observed.api.as_ref().is_some_and(|api| !api.complete);
            let pools = self
                .facts
                .observed
                .pools
                .iter()
                .filter(|(_, rollout)| !rollout.complete)
                .map(|(name, _)| format!("pool {name}"));
            api.then(|| "the API".to_owned()).into_iter().chain(pools).collect::<Vec<_>>()
        };
        match &self.plan.stage {
            _ if !self.problems().is_empty() => {
                state(kind, false, "Stalled", "Waiting for somebody to mend what stands in the way.")
            }
            Stage::SetupFailed { .. } => state(kind, false, "Stalled", "Waiting for the next attempt at the setup."),
            Stage::WaitingForServers(_) | Stage::SettingUp { .. } => {
                let ready = self.ready();
                state(
                    kind,
                    true,
                    "SettingUp",
                    if ready.truth == Truth::True { "The setup Job runs.".into() } else { ready.message },
                )
            }
            _ => match (rolling(), self.not_serving()) {
                (rolling, missing) if rolling.is_empty() && missing.is_empty() => {
                    state(kind, false, "UpToDate", "Everything is as the spec says.")
                }
                (rolling, missing) if rolling.is_empty() => {
                    state(kind, true, "Starting", sentence(&format!("waiting for {}", missing.join(", "))))
                }
                (rolling, _) => {
                    state(kind, true, "RollingOut", sentence(&format!("rolling out {}", rolling.join(", "))))
                }
            },
        }
    }

    fn stalled(&self) -> Statement {
        let ready = self.ready();
        let stalled = !self.problems().is_empty() || matches!(self.plan.stage, Stage::SetupFailed { .. });
        if stalled {
            state("Stalled", true, ready.reason, ready.message)
        } else {
            state("Stalled", false, "NotStalled", "Nothing stands in the way.")
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
