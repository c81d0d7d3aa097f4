//! Errors, alerts and recovery times while one part of a platform after another fails.
//!
//! Writes the tables of docs/measurements/reliability.md. Alert rules have their real durations, so
//! this takes most of an hour (`make reliability`).

mod command;
mod fixture;
mod load;
mod pair;
mod scenario;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use switchyard_e2e::eventually;

use self::{fixture::Fixture, load::Load, scenario::Scenario};

const LIMIT: Duration = Duration::from_mins(10);
/// A fault counts as detected when the health score is below this.
const HEALTHY_SCORE: u64 = 80;

fn seconds(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "–".to_owned(), |duration| format!("{:.0} s", duration.as_secs_f64()))
}

/// What one scenario adds to the page: a row of the table, and an item of the list of faults.
struct Outcome {
    row: String,
    fault: String,
}

/// Runs one scenario.
async fn run_scenario(fixture: &Fixture, scenario: Scenario) -> Result<Outcome> {
    // The alert may still fire from the previous scenario; wait until it is resolved.
    if let Some(alert) = scenario.alert() {
        eventually(LIMIT, format!("{alert} is resolved"), || async {
            ensure!(!fixture.alerts().await?.iter().any(|firing| firing == alert));
            Ok(())
        })
        .await?;
    }
    let load = Load::start(&fixture.client, scenario.name(), scenario == Scenario::SourceMalformed)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before: Vec<String> = fixture.alerts().await.unwrap_or_default();
    let began = Instant::now();
    let (mut detected, mut alerted, mut fired) = (None, None, BTreeMap::<String, Duration>::new());
    let fault = fixture.inject(scenario);
    tokio::pin!(fault);
    let mut removed = None;
    let mut recovered = None;
    // Observe the fault and the recovery. The loop cannot end before the fault is removed.
    while recovered.is_none() {
        tokio::select! {
            result = &mut fault, if removed.is_none() => {
                result?;
                removed = Some(Instant::now());
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        if detected.is_none() && fixture.score().await < HEALTHY_SCORE {
            detected = Some(began.elapsed());
        }
        for alert in fixture.alerts().await.unwrap_or_default().into_iter().filter(|alert| !before.contains(alert)) {
            alerted.get_or_insert(began.elapsed());
            fired.entry(alert).or_insert_with(|| began.elapsed());
        }
        if let Some(at) = removed
            && fixture.score().await >= HEALTHY_SCORE
            && let Ok(Ok(response)) = tokio::time::timeout(
                Duration::from_secs(5),
                fixture.client.post(
                    "/v1/analyses",
                    json!({"username": format!("{}-after", scenario.name()), "force_refresh": true}),
                ),
            )
            .await
            && let Some(job) = response.body["job"]["id"].as_str()
        {
            fixture.client.wait_until_finished(job, LIMIT).await?;
            recovered = Some(at.elapsed());
        }
        ensure!(began.elapsed() < scenario.duration() + LIMIT, "{}: not recovered in time", scenario.name());
    }
    if let Some(alert) = scenario.alert() {
        ensure!(fired.contains_key(alert), "{}: {alert} did not fire, only {fired:?}", scenario.name());
    }
    let (errors, calls, p99) = load.summary(began, Instant::now());
    let jobs = load.jobs();
    drop(load);
    let mut lost = 0;
    for job in &jobs {
        let ended = fixture
            .client
            .wait_until_finished(job, LIMIT)
            .await
            .with_context(|| format!("{} {job}", scenario.name()))?;
        lost += usize::from(ended["state"] != "completed");
    }
    ensure!(lost == 0, "{}: {lost} accepted analyses did not complete", scenario.name());
    fixture.check_balance().await?;
    let alerts: Vec<String> = fired
        .iter()
        .map(|(name, after)| format!("{} after {:.0} s", name.trim_start_matches("Switchyard"), after.as_secs_f64()))
        .collect();
    let row = format!(
        "| `{}` | {errors} of {calls} ({:.1} %) | {:.0} ms | {} | {} | {} | {lost} of {} |",
        scenario.name(),
        100.0 * errors as f64 / calls.max(1) as f64,
        p99.as_secs_f64() * 1000.0,
        seconds(detected),
        seconds(alerted),
        seconds(recovered),
        jobs.len(),
    );
    let fault = format!(
        "- `{}`: {}. Alerts: {}.",
        scenario.name(),
        scenario.description(),
        if alerts.is_empty() { "none".to_owned() } else { alerts.join(", ") },
    );
    println!("{row}\n{fault}");
    Ok(Outcome { row, fault })
}

/// Whether `RELIABILITY` selects a scenario; without it all are selected.
fn selected(scenario: Scenario) -> bool {
    let selected = std::env::var("RELIABILITY").unwrap_or_default();
    selected.is_empty() || selected.split(',').any(|name| name == scenario.name())
}

/// Runs one scenario after another. Writes the rows of the table to `<into>.md` below
/// `RELIABILITY_INTO`, and the list of faults to `<into>-faults.md`.
async fn run_scenarios(fixture: &Fixture, scenarios: &[Scenario], into: &str) -> Result<()> {
    let (mut rows, mut faults) = (String::new(), String::new());
    let mut failed = Vec::new();
    for scenario in scenarios.iter().copied().filter(|scenario| selected(*scenario)) {
        // The next scenarios run after a failed one, although it may affect them.
        match run_scenario(fixture, scenario).await {
            Ok(outcome) => {
                writeln!(rows, "{}", outcome.row)?;
                writeln!(faults, "{}", outcome.fault)?;
            }
            Err(error) => failed.push(format!("{}: {error:#}", scenario.name())),
        }
        if let Ok(folder) = std::env::var("RELIABILITY_INTO") {
            fs::write(Path::new(&folder).join(format!("{into}.md")), &rows)?;
            fs::write(Path::new(&folder).join(format!("{into}-faults.md")), &faults)?;
        }
    }
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

#[tokio::test]
#[ignore = "takes half an hour: make reliability"]
async fn platform_with_bundled_services_recovers_from_every_fault() -> Result<()> {
    let fixture = Fixture::bundled().await?;
    run_scenarios(&fixture, &Scenario::BUNDLED, "bundled").await?;
    fixture.delete().await
}

#[tokio::test]
#[ignore = "takes half an hour: make reliability"]
async fn platform_with_a_user_managed_database_recovers_from_every_fault() -> Result<()> {
    let fixture = Fixture::user_managed().await?;
    run_scenarios(&fixture, &Scenario::USER_MANAGED, "own").await?;
    // The operator replaces the partitioned pod, and no pod when a fault affects all of them.
    let (replaced, expected) =
        (fixture.namespace.event_messages("PodReplaced").await?, usize::from(selected(Scenario::PodPartitioned)));
    ensure!(replaced.len() == expected, "{replaced:?}");
    let restarts = fixture.namespace.restart_count("app.kubernetes.io/component in (api,worker)").await?;
    ensure!(restarts == 0, "{restarts} containers restarted");
    fixture.delete().await
}
