//! What happens to users, and who hears of it, while parts of a platform are broken one after the other: the table of docs/reliability.md.
//!
//! Alerts are as they are for users, so that this takes most of an hour: `make reliability`.

mod ground;
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
use ground::Ground;
use load::Load;
use scenario::Scenario;
use serde_json::json;
use switchyard_e2e::patiently;

const LIMIT: Duration = Duration::from_secs(600);
/// A score below this is trouble that was noticed.
const NOTICED: u64 = 80;

fn seconds(of: Option<Duration>) -> String {
    of.map_or_else(|| "–".to_owned(), |of| format!("{:.0} s", of.as_secs_f64()))
}

/// Breaks one thing, and tells its row of the table.
async fn row(ground: &Ground, scenario: Scenario) -> Result<String> {
    // An alert of the row before, which fires on for minutes, would not be seen to begin.
    if let Some(alert) = scenario.alert() {
        patiently(LIMIT, format!("{alert} is over"), || async {
            ensure!(!ground.alerts().await?.iter().any(|firing| firing == alert));
            Ok(())
        })
        .await?;
    }
    let load = Load::begin(&ground.client, scenario.name(), scenario == Scenario::SourceRubbish)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before: Vec<String> = ground.alerts().await.unwrap_or_default();
    let began = Instant::now();
    let (mut noticed, mut alerted, mut named) = (None, None, BTreeMap::<String, Duration>::new());
    let broken = ground.break_and_mend(scenario);
    tokio::pin!(broken);
    let mut mended = None;
    let mut recovered = None;
    // While it is broken, and until all is well again. Nothing here ends it before it has been mended.
    while recovered.is_none() {
        tokio::select! {
            result = &mut broken, if mended.is_none() => {
                result?;
                mended = Some(Instant::now());
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        if noticed.is_none() && ground.score().await < NOTICED {
            noticed = Some(began.elapsed());
        }
        for alert in ground.alerts().await.unwrap_or_default().into_iter().filter(|alert| !before.contains(alert)) {
            alerted.get_or_insert(began.elapsed());
            named.entry(alert).or_insert_with(|| began.elapsed());
        }
        if let Some(at) = mended
            && ground.score().await >= NOTICED
            && let Ok(Ok(answer)) = tokio::time::timeout(
                Duration::from_secs(5),
                ground.client.post(
                    "/v1/analyses",
                    json!({"username": format!("{}-after", scenario.name()), "force_refresh": true}),
                ),
            )
            .await
            && let Some(job) = answer.body["job"]["id"].as_str()
        {
            ground.client.ended(job, LIMIT).await?;
            recovered = Some(at.elapsed());
        }
        ensure!(began.elapsed() < scenario.lasts() + LIMIT, "{} is not over", scenario.name());
    }
    if let Some(alert) = scenario.alert() {
        ensure!(named.contains_key(alert), "{} was to raise {alert}, and raised {named:?}", scenario.name());
    }
    let (errors, calls, p99) = load.seen(began, Instant::now());
    let jobs = load.jobs();
    drop(load);
    let mut lost = 0;
    for job in &jobs {
        let ended = ground.client.ended(job, LIMIT).await.with_context(|| format!("{} {job}", scenario.name()))?;
        lost += usize::from(ended["state"] != "completed");
    }
    ensure!(lost == 0, "{}: {lost} accepted analyses did not complete", scenario.name());
    ground.balances().await?;
    let alerts: Vec<String> = named
        .iter()
        .map(|(name, after)| format!("{} {:.0} s", name.trim_start_matches("Switchyard"), after.as_secs_f64()))
        .collect();
    let row = format!(
        "| {} | {errors} of {calls} ({:.1} %) | {:.0} ms | {} | {} | {} | {lost} of {} | {} |",
        scenario.words(),
        100.0 * errors as f64 / calls.max(1) as f64,
        p99.as_secs_f64() * 1000.0,
        seconds(noticed),
        seconds(alerted),
        seconds(recovered),
        jobs.len(),
        if alerts.is_empty() { "–".to_owned() } else { alerts.join(", ") },
    );
    println!("{row}");
    Ok(row)
}

/// Whether `RELIABILITY` chooses a scenario; it chooses all when it is not set.
fn chosen(scenario: Scenario) -> bool {
    let chosen = std::env::var("RELIABILITY").unwrap_or_default();
    chosen.is_empty() || chosen.split(',').any(|name| name == scenario.name())
}

/// Breaks one thing after the other. The rows come to lie in the file of that name in the folder `RELIABILITY_INTO`.
async fn rows(ground: &Ground, scenarios: &[Scenario], into: &str) -> Result<()> {
    let mut rows = String::new();
    let mut failed = Vec::new();
    for scenario in scenarios.iter().copied().filter(|scenario| chosen(*scenario)) {
        // One that fails keeps nobody from the others, which may suffer from it.
        match row(ground, scenario).await {
            Ok(row) => writeln!(rows, "{row}")?,
            Err(error) => failed.push(format!("{}: {error:#}", scenario.name())),
        }
        if let Ok(folder) = std::env::var("RELIABILITY_INTO") {
            fs::write(Path::new(&folder).join(into), &rows)?;
        }
    }
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

#[tokio::test]
#[ignore = "takes half an hour: make reliability"]
async fn what_users_see_and_who_hears_of_it_while_parts_are_broken() -> Result<()> {
    let ground = Ground::bundled().await?;
    rows(&ground, &Scenario::BUNDLED, "bundled.md").await?;
    ground.end().await
}

#[tokio::test]
#[ignore = "takes half an hour: make reliability"]
async fn a_database_of_ones_own_is_broken_and_recovery_does_not_make_it_worse() -> Result<()> {
    let ground = Ground::with_a_database_of_its_own().await?;
    rows(&ground, &Scenario::OWN, "own.md").await?;
    // What ails everybody is no reason to replace anybody, or to start anything anew; what ails one was.
    let (replaced, sick) = (ground.namespace.events("PodReplaced").await?, usize::from(chosen(Scenario::PodSick)));
    ensure!(replaced.len() == sick, "{replaced:?}");
    let restarts = ground.namespace.restarts("app.kubernetes.io/component in (api,worker)").await?;
    ensure!(restarts == 0, "{restarts} containers were started anew");
    ground.end().await
}
