//! The console in Chromium: an operator visits every view and replays a dead job; a tenant submits
//! an analysis and sees its result.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use switchyard_e2e::{Browser, Cluster, Namespace, Platform, deploy_profile_source, eventually};

const LIMIT: Duration = Duration::from_mins(2);

#[tokio::test]
async fn console_works_for_operators_and_tenants() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.create_namespace("console").await?;
    let source = deploy_profile_source(&namespace).await?;
    let spec = json!({"environment": "development", "profileSource": source});
    let platform = Platform::ready(&namespace, "main", spec).await?;
    let admin = platform.admin().await?;
    let (tenant, client) = admin.create_tenant("standard", 1000).await?;
    insert_history(&namespace, &tenant).await?;
    let done = client.submit("console-done").await?;
    let dead = client.submit("missing-console").await?;
    for job in [&done, &dead] {
        client.wait_until_finished(job, LIMIT).await?;
    }

    let operator = Browser::start("light").await?;
    operator.page.goto(&format!("{}/console", admin.url)).await?;
    operator.wait_for_view("sign-in").await?;
    operator.type_text("#key", &admin.key).await?;
    operator.click("#sign-in").await?;
    operator.wait_for_view("overview").await?;
    eventually(LIMIT, "the page and the API have the same score", || async {
        let health = admin.get("/admin/v1/health").await?.expect(200)?;
        let (score, shown) = (health["score"].as_u64().context("a score")?, operator.text("#score").await?);
        let grade = if score >= 90 { "good" } else { "strained" };
        ensure!(score >= 60 && shown == format!("{score} of 100: {grade}"), "'{shown}' for {health}");
        Ok(())
    })
    .await?;
    operator.screenshot("overview").await?;

    for (key, view) in [("l", "lanes"), ("w", "workers"), ("c", "connections"), ("t", "tenants"), ("j", "jobs")] {
        operator.type_text("body", &format!("g{key}")).await?;
        operator.wait_for_view(view).await?;
        operator.screenshot(view).await?;
    }
    // Find a job among a hundred thousand by the prefix of its username.
    let rows = operator.execute("return document.querySelectorAll('#jobs tr[data-key]').length").await?;
    ensure!(rows.as_u64().is_some_and(|rows| (10..=200).contains(&rows)), "{rows} rows are shown");
    operator.type_text("#search", "console-d").await?;
    operator.click(&format!("#jobs tr[data-key=\"{done}\"] a")).await?;
    operator.wait_for_view("job").await?;
    ensure!(operator.text("#job-state").await?.to_lowercase().contains("completed"));
    operator.text("#timeline li").await?;
    operator.text("#parts").await?;
    operator.screenshot("job").await?;

    operator.type_text("body", "gd").await?;
    operator.wait_for_view("dead").await?;
    operator.screenshot("dead").await?;
    operator.click(&format!("#dead tr[data-key=\"{dead}\"] [data-action=\"replay\"]")).await?;
    operator.click("#confirm-yes").await?;
    eventually(LIMIT, "the replayed job is dead again", || async {
        let report = admin.get(&format!("/admin/v1/jobs/{dead}")).await?.expect(200)?;
        let charges = report["ledger"].as_array().context("ledger")?.iter().filter(|entry| entry["kind"] == "charge");
        ensure!(charges.count() == 2, "{report}");
        Ok(())
    })
    .await?;
    let clean = expect_clean_page(&operator, &[]).await;
    operator.page.clone().close().await?;
    clean?;

    let caller = Browser::start("dark").await?;
    caller.page.goto(&format!("{}/console/", admin.url)).await?;
    caller.wait_for_view("sign-in").await?;
    caller.type_text("#key", &client.key).await?;
    caller.click("#sign-in").await?;
    caller.wait_for_view("usage").await?;
    caller.screenshot("usage-dark").await?;
    caller.click("#nav-ask").await?;
    caller.wait_for_view("ask").await?;
    caller.type_text("#username", "console-asked").await?;
    caller.click("#submit-analysis").await?;
    caller.wait_for_view("job").await?;
    caller.text("#job-state[data-state=\"completed\"]").await?;
    caller.text("#posts").await?;
    caller.screenshot("result-dark").await?;
    // The page detects a tenant's key by the refusal of an admin call.
    let clean = expect_clean_page(&caller, &["/admin/v1/health"]).await;
    caller.page.clone().close().await?;
    clean?;
    namespace.delete().await
}

/// Inserts a hundred thousand analyses that completed within the last months.
async fn insert_history(namespace: &Namespace, tenant: &str) -> Result<()> {
    let client = namespace.connect_database("main").await?;
    let insert = format!(
        "insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, turn, created_at, finished_at)
         select id, '{tenant}', id, 'api', 'general', 'normal', 'completed', 'profile' || n, '{{}}', at, at, at
         from (select n, now() - n * interval '1 minute' as at, gen_random_uuid() as random from generate_series(1, 100000) n) series
         cross join lateral (select (left(switchyard.first_id(at)::text, 14) || substr(random::text, 15))::uuid as id) ids;
         analyze switchyard.jobs"
    );
    client.batch_execute(&insert).await?;
    Ok(())
}

/// Checks that the page loaded nothing from other origins and logged only `expected` errors.
async fn expect_clean_page(browser: &Browser, expected: &[&str]) -> Result<()> {
    let foreign = browser
        .execute("return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin + '/'))")
        .await?;
    ensure!(foreign.as_array().is_some_and(Vec::is_empty), "loaded from other origins: {foreign}");
    let errors = browser.console_errors().await?;
    let unexpected: Vec<&String> =
        errors.iter().filter(|line| !expected.iter().any(|expected| line.contains(expected))).collect();
    ensure!(unexpected.is_empty(), "{unexpected:#?}");
    Ok(())
}
