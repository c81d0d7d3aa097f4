//! Conditions follow from what is there, in plain words.

use crate::common::{fresh, images, now, own_secrets, own_services, pool, ready, set_up, settings};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;
use switchyard_operator::{
    controllers::{
        apply::Rejection,
        condition,
        platform::{input::PlatformInput, plan::plan, status::status, validate::validate},
    },
    crd::{AnalyticsPlatformStatus, WorkerPool},
    kubernetes::rollout::{JobState, Report, Rollout},
    spec::component::Component,
};

fn told(previous: &AnalyticsPlatformStatus, input: &PlatformInput) -> AnalyticsPlatformStatus {
    let valid = validate(input.clone());
    status(previous, Some(3), &valid, &plan(&valid, &images(), now()), None, None, now())
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
    let first = told(&AnalyticsPlatformStatus::default(), &input);
    steps.push(all(&first));
    input.observed.servers.insert(
        Component::Database,
        Rollout { desired: 1, trouble: Some("image x cannot be pulled".into()), ..Rollout::default() },
    );
    steps.push(words(&told(&first, &input), "DatabaseReady"));
    input.observed.servers = Component::BACKING.into_iter().map(|component| (component, ready(1))).collect();
    let third = told(&first, &input);
    steps.push(all(&third));
    let last = told(&third, &serving());
    steps.push(all(&last));
    insta::assert_snapshot!(steps.join("\n\n"));
    assert_eq!(last.url.as_deref(), Some("http://main-api.shop.svc"));
    assert!(last.setup.is_some() && third.setup.is_none());
    assert_eq!(told(&last, &serving()), last, "a second look says the same");
}

#[test]
fn a_refused_login_names_the_secret_and_the_rest_stands_as_far_as_it_is_known() {
    let mut input = set_up(fresh(settings("main", own_services()), &own_secrets()));
    let job = input.observed.jobs.keys().next().cloned().expect("a Job");
    let report = Report {
        component: Some(Component::Broker),
        message: "RabbitMQ at mq.example.org refused the login of user app".into(),
    };
    input.observed.jobs.insert(job, JobState::Failed { at: now(), report });
    let failed = told(&AnalyticsPlatformStatus::default(), &input);
    insta::assert_snapshot!(all(&failed));

    // While the next attempt runs, the last result stands; of what it never got to, nothing is known.
    input.observed.jobs.clear();
    let running = told(&failed, &input);
    assert_eq!(words(&running, "BrokerReady"), words(&failed, "BrokerReady"));
    assert_eq!(words(&running, "DatabaseReady"), words(&failed, "DatabaseReady"));
    assert!(words(&running, "CacheReady").starts_with("CacheReady=Unknown NotChecked"));
}

#[test]
fn a_broken_change_leaves_what_runs_running_and_says_so() {
    let before = told(&AnalyticsPlatformStatus::default(), &serving());
    let mut input = serving();
    let job = input.observed.jobs.keys().next().cloned().expect("a Job");
    input
        .observed
        .jobs
        .insert(job, JobState::Failed { at: now(), report: Report { component: None, message: "exit code 1".into() } });
    let after = told(&before, &input);
    let ready = words(&after, "Ready");
    assert!(
        ready.starts_with("Ready=False SetupFailed") && ready.contains("what ran before goes on running"),
        "{ready}"
    );
    assert_eq!(after.setup, before.setup, "workloads stay with the setup that succeeded");
}

#[test]
fn a_roll_out_is_progress_and_not_an_outage() {
    let mut input = serving();
    input.observed.api = Some(Rollout { complete: false, replicas: 2, ..ready(1) });
    let status = told(&AnalyticsPlatformStatus::default(), &input);
    assert!(words(&status, "Ready").starts_with("Ready=True"));
    assert!(words(&status, "Reconciling").starts_with("Reconciling=True RollingOut"));
}

#[test]
fn a_pool_that_cannot_start_is_named_with_its_trouble() {
    let mut input = serving();
    input.observed.pools.insert(
        "main-ai".into(),
        Rollout { desired: 1, trouble: Some("no node takes the pod: 0/1 nodes".into()), ..Rollout::default() },
    );
    let ready = words(&told(&AnalyticsPlatformStatus::default(), &input), "Ready");
    assert_eq!(ready, "Ready=False Starting: Waiting for pool main-ai (no node takes the pod: 0/1 nodes).");
}

#[test]
fn the_api_servers_own_words_are_told() {
    let valid = validate(serving());
    let plan = plan(&valid, &images(), now());
    let refused =
        Rejection { reason: "Forbidden", message: "cannot apply Deployment/main-api: exceeded quota: q".into() };
    let status = status(&AnalyticsPlatformStatus::default(), Some(3), &valid, &plan, Some(&refused), None, now());
    assert!(
        words(&status, "Ready")
            .starts_with("Ready=False Forbidden: Cannot apply Deployment/main-api: exceeded quota: q")
    );
    assert!(words(&status, "Stalled").starts_with("Stalled=True Forbidden"));
}

#[test]
fn a_budget_that_does_not_fit_is_refused_with_the_arithmetic() {
    let mut input = serving();
    input.settings = settings(
        "main",
        json!({"environment": "development", "database": {"maxConnections": 100}, "api": {"connections": {"size": 90}}}),
    );
    let status = told(&AnalyticsPlatformStatus::default(), &input);
    insta::assert_snapshot!([words(&status, "ConnectionBudget"), words(&status, "Ready")].join("\n"));
}

#[test]
fn a_profile_source_that_is_not_there_does_not_stop_the_platform() {
    let status = told(&AnalyticsPlatformStatus::default(), &serving());
    assert!(words(&status, "Ready").starts_with("Ready=True"));
    assert!(words(&status, "ProfileSourceConfigured").contains("spec.profileSource"));
}
