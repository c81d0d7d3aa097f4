//! Conditions and their messages.

use crate::common::{assert_documented, fresh, images, now, own_secrets, own_services, pool, ready, set_up, settings};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;
use switchyard_operator::{
    controllers::{
        apply::Rejection,
        condition,
        platform::{input::PlatformInput, plan::plan, status::status, validate::validate},
    },
    crd::{
        AnalyticsPlatformStatus, WorkerPool,
        conditions::{PLATFORM, Reason},
    },
    kubernetes::rollout::{JobState, Report, Rollout},
    spec::component::Component,
};

fn status_of(previous: &AnalyticsPlatformStatus, input: &PlatformInput) -> AnalyticsPlatformStatus {
    let valid = validate(input.clone());
    let status = status(previous, Some(3), &valid, &plan(&valid, &images(), now()), None, None, now());
    assert_documented(PLATFORM, &status.conditions);
    status
}

/// A condition as `Type=Status Reason: message`.
fn words(status: &AnalyticsPlatformStatus, kind: &str) -> String {
    let condition: &Condition = condition::find(&status.conditions, kind).unwrap_or_else(|| panic!("no {kind}"));
    assert_eq!(condition.observed_generation, Some(3));
    format!("{kind}={} {}: {}", condition.status, condition.reason, condition.message)
}

fn all(status: &AnalyticsPlatformStatus) -> String {
    status.conditions.iter().map(|c| words(status, &c.type_)).collect::<Vec<_>>().join("\n")
}

fn default_pools(input: &PlatformInput) -> Vec<WorkerPool> {
    ["general", "cdn", "discovery", "ai"]
        .map(|kind| {
            let mut pool = pool(&format!("main-{kind}"), json!({"platformRef": {"name": "main"}, "kind": kind}));
            pool.metadata.owner_references = Some(vec![input.owner.reference.clone()]);
            pool
        })
        .to_vec()
}

fn serving() -> PlatformInput {
    let mut input = set_up(fresh(settings("main", json!({"environment": "development"})), &[]));
    input.pools = default_pools(&input);
    input.observed.api = Some(ready(1));
    input.observed.pools =
        input.pools.iter().filter_map(|pool| Some((pool.metadata.name.clone()?, ready(1)))).collect();
    input
}

#[test]
fn from_nothing_to_serving() {
    let mut input = fresh(settings("main", json!({"environment": "development"})), &[]);
    let mut steps = Vec::new();
    let first = status_of(&AnalyticsPlatformStatus::default(), &input);
    steps.push(all(&first));
    input.observed.servers.insert(
        Component::Database,
        Rollout { desired: 1, trouble: Some("image x cannot be pulled".into()), ..Rollout::default() },
    );
    steps.push(words(&status_of(&first, &input), "DatabaseReady"));
    input.observed.servers = Component::BACKING.into_iter().map(|component| (component, ready(1))).collect();
    let third = status_of(&first, &input);
    steps.push(all(&third));
    let last = status_of(&third, &serving());
    steps.push(all(&last));
    insta::assert_snapshot!(steps.join("\n\n"));
    assert_eq!(last.url.as_deref(), Some("http://main-api.shop.svc"));
    assert!(last.setup.is_some() && third.setup.is_none());
    assert_eq!(status_of(&last, &serving()), last, "a second reconcile reports the same");
}

#[test]
fn a_refused_login_names_the_secret_and_keeps_known_conditions() {
    let mut input = set_up(fresh(settings("main", own_services()), &own_secrets()));
    let job = input.observed.jobs.keys().next().cloned().expect("a Job");
    let report = Report {
        component: Some(Component::Broker),
        message: "RabbitMQ at mq.example.org refused the login of user app".into(),
    };
    input.observed.jobs.insert(job, JobState::Failed { at: now(), report });
    let failed = status_of(&AnalyticsPlatformStatus::default(), &input);
    insta::assert_snapshot!(all(&failed));

    // During the next attempt the last result remains. Unchecked services stay unknown.
    input.observed.jobs.clear();
    let running = status_of(&failed, &input);
    assert_eq!(words(&running, "BrokerReady"), words(&failed, "BrokerReady"));
    assert_eq!(words(&running, "DatabaseReady"), words(&failed, "DatabaseReady"));
    assert!(words(&running, "CacheReady").starts_with("CacheReady=Unknown NotChecked"));
}

#[test]
fn a_failed_setup_reports_that_workloads_keep_running() {
    let before = status_of(&AnalyticsPlatformStatus::default(), &serving());
    let mut input = serving();
    let job = input.observed.jobs.keys().next().cloned().expect("a Job");
    input
        .observed
        .jobs
        .insert(job, JobState::Failed { at: now(), report: Report { component: None, message: "exit code 1".into() } });
    let after = status_of(&before, &input);
    let ready = words(&after, "Ready");
    assert!(ready.starts_with("Ready=False SetupFailed") && ready.contains("existing pods keep running"), "{ready}");
    assert_eq!(after.setup, before.setup, "workloads stay with the setup that succeeded");
}

#[test]
fn a_rollout_is_progress_and_not_an_outage() {
    let mut input = serving();
    input.observed.api = Some(Rollout { complete: false, replicas: 2, ..ready(1) });
    let status = status_of(&AnalyticsPlatformStatus::default(), &input);
    assert!(words(&status, "Ready").starts_with("Ready=True"));
    assert!(words(&status, "Reconciling").starts_with("Reconciling=True RollingOut"));
}

#[test]
fn ready_names_a_pool_that_cannot_start_and_why() {
    let mut input = serving();
    input.observed.pools.insert(
        "main-ai".into(),
        Rollout { desired: 1, trouble: Some("no node takes the pod: 0/1 nodes".into()), ..Rollout::default() },
    );
    let ready = words(&status_of(&AnalyticsPlatformStatus::default(), &input), "Ready");
    assert_eq!(ready, "Ready=False Starting: Waiting for pool main-ai (no node takes the pod: 0/1 nodes).");
}

#[test]
fn ready_repeats_the_message_of_the_api_server() {
    let valid = validate(serving());
    let plan = plan(&valid, &images(), now());
    let refused =
        Rejection { reason: Reason::Forbidden, message: "cannot apply Deployment/main-api: exceeded quota: q".into() };
    let status = status(&AnalyticsPlatformStatus::default(), Some(3), &valid, &plan, Some(&refused), None, now());
    assert!(
        words(&status, "Ready")
            .starts_with("Ready=False Forbidden: Cannot apply Deployment/main-api: exceeded quota: q")
    );
    assert!(words(&status, "Stalled").starts_with("Stalled=True Forbidden"));
}

#[test]
fn an_exceeded_budget_is_refused_with_the_arithmetic() {
    let mut input = serving();
    input.settings = settings(
        "main",
        json!({"environment": "development", "database": {"maxConnections": 100}, "api": {"connections": {"size": 90}}}),
    );
    let status = status_of(&AnalyticsPlatformStatus::default(), &input);
    insta::assert_snapshot!([words(&status, "ConnectionBudget"), words(&status, "Ready")].join("\n"));
}

#[test]
fn a_missing_profile_source_does_not_stop_the_platform() {
    let status = status_of(&AnalyticsPlatformStatus::default(), &serving());
    assert!(words(&status, "Ready").starts_with("Ready=True"));
    assert!(words(&status, "ProfileSourceConfigured").contains("spec.profileSource"));
}
