//! `tiers.md`: tiers, lanes, retries and retention.

use std::time::Duration;

use switchyard_contract::{Analysis, Lane, Lanes, Retry, SourceLimits, Tier, Tiers};
use switchyard_jobs::{maintenance, store::Retention};

use crate::{defaults::duration, markdown::Page};

/// The page.
///
/// # Errors
/// A row of a table is too long.
pub fn page() -> anyhow::Result<Page> {
    let mut page = Page::new(
        "tiers.md",
        "Tiers, lanes and limits",
        "This page lists the default limits of each tier and each lane, the delays of retries, and what is kept for \
         how long.",
    );
    page.paragraph(
        "`spec.tiers`, `spec.lanes` and `spec.retry` of an [AnalyticsPlatform](analytics-platform.md) override them. \
         See [manage tenants](../how-to/tenants.md).",
    );
    tiers(&mut page)?;
    lanes(&mut page)?;
    retries(&mut page);
    analyses(&mut page);
    retention(&mut page);
    Ok(page)
}

fn tiers(page: &mut Page) -> anyhow::Result<()> {
    page.heading(2, "Tiers");
    page.paragraph(
        "A tenant has one tier. `concurrent` limits its unfinished analyses. `daily` limits the analyses that the API \
         accepts in one UTC day. `price` is the number of credits of one analysis. `lane` is the lane of its analyses.",
    );
    let all = Tiers::default();
    let rows: Vec<Vec<String>> = Tier::ALL
        .iter()
        .map(|&tier| {
            let limits = all.get(tier);
            let daily = limits.daily.map_or_else(|| "no limit".to_owned(), |daily| daily.to_string());
            vec![
                format!("`{tier}`"),
                limits.concurrent.to_string(),
                daily,
                limits.price.to_string(),
                format!("`{}`", limits.lane),
            ]
        })
        .collect();
    page.table(&["tier", "concurrent", "daily", "price", "lane"], &rows)
}

fn lanes(page: &mut Page) -> anyhow::Result<()> {
    page.heading(2, "Lanes");
    page.paragraph(
        "`capacity` limits the analyses that wait in the lane. The API refuses further ones with \
         [`lane-full`](problem-types.md#lane-full). `maxRunning` limits the analyses that run at once on the whole \
         platform. `timeout` limits one attempt of a job.",
    );
    let all = Lanes::default();
    let rows: Vec<Vec<String>> = Lane::ALL
        .iter()
        .map(|&lane| {
            let limits = all.get(lane);
            vec![
                format!("`{lane}`"),
                limits.capacity.to_string(),
                limits.max_running.to_string(),
                duration(limits.timeout_seconds),
            ]
        })
        .collect();
    page.table(&["lane", "capacity", "maxRunning", "timeout"], &rows)
}

fn retries(page: &mut Page) {
    page.heading(2, "Retries");
    let retry = Retry::default();
    let delays: Vec<String> = retry.delays_seconds.iter().map(|&delay| duration(delay)).collect();
    page.paragraph(&format!(
        "A failed job is tried again after a delay. The delays are {}. A job is dead after {} failures. A permanent \
         error makes a job dead at once.",
        delays.join(", "),
        retry.attempts()
    ));
}

fn analyses(page: &mut Page) {
    page.heading(2, "Analyses");
    page.paragraph("These values are fixed. No field of the spec changes them.");
    let Analysis { posts_per_chunk, result_ttl_seconds, related_profiles } = Analysis::default();
    page.item(0, &format!("A result is served from the cache for {}.", duration(result_ttl_seconds)));
    page.item(0, &format!("One job of the ai pool has at most {posts_per_chunk} posts."));
    page.item(0, &format!("One analysis submits at most {related_profiles} related profiles, on the lane `low`."));
    let SourceLimits { runs_per_minute, tenant_runs_per_minute } = SourceLimits::default();
    page.item(
        0,
        &format!(
            "The profile source starts at most {runs_per_minute} runs in a minute, and {tenant_runs_per_minute} of \
             them for one tenant."
        ),
    );
}

fn retention(page: &mut Page) {
    page.heading(2, "Retention");
    let whole = |time: Duration| {
        let hours = time.as_secs() / 3600;
        if hours > 24 && hours.is_multiple_of(24) { format!("{} days", hours / 24) } else { format!("{hours} hours") }
    };
    let Retention { events, idempotency, jobs } = Retention::default();
    let policy = maintenance::Policy::default();
    page.paragraph(&format!(
        "The API removes old rows of the database every {}.",
        duration(policy.retain_every.as_secs())
    ));
    page.item(0, &format!("Finished analyses with their results: {}.", whole(jobs)));
    page.item(0, &format!("Events of finished analyses: {}.", whole(events)));
    page.item(0, &format!("Idempotency keys: {}.", whole(idempotency)));
    page.item(0, "The ledger of credits: for ever.");
}
