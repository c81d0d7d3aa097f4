//! The console in a real Chromium: an operator looks at everything and mends a dead job, a tenant asks for an analysis and sees its result.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use switchyard_e2e::{Browser, Cluster, Namespace, Platform, patiently, profile_source};

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn an_operator_and_a_tenant_find_their_way() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("console").await?;
    let source = profile_source(&namespace).await?;
    let spec = json!({"environment": "development", "profileSource": source});
    let platform = Platform::ready(&namespace, "main", spec).await?;
    let admin = platform.admin().await?;
    let (tenant, client) = admin.tenant("standard", 1000).await?;
    history(&namespace, &tenant).await?;
    let done = client.submit("console-done").await?;
    let dead = client.submit("missing-console").await?;
    for job in [&done, &dead] {
        client.ended(job, LIMIT).await?;
    }

    let operator = Browser::start("light").await?;
    operator.page.goto(&format!("{}/console", admin.url)).await?;
    operator.view("sign-in").await?;
    operator.write("#key", &admin.key).await?;
    operator.click("#sign-in").await?;
    operator.view("overview").await?;
    ensure!(!operator.text("#score").await?.is_empty());
    operator.picture("overview").await?;

    for (key, view) in [("l", "lanes"), ("w", "workers"), ("c", "connections"), ("t", "tenants"), ("j", "jobs")] {
        operator.write("body", &format!("g{key}")).await?;
        operator.view(view).await?;
        operator.picture(view).await?;
    }
    // A job among a hundred thousand, by how its name begins.
    let rows = operator.run("return document.querySelectorAll('#jobs tr[data-key]').length").await?;
    ensure!(rows.as_u64().is_some_and(|rows| (10..=200).contains(&rows)), "{rows} rows are shown");
    operator.write("#search", "console-d").await?;
    operator.click(&format!("#jobs tr[data-key=\"{done}\"] a")).await?;
    operator.view("job").await?;
    ensure!(operator.text("#job-state").await?.to_lowercase().contains("completed"));
    operator.text("#timeline li").await?;
    operator.text("#parts").await?;
    operator.picture("job").await?;

    operator.write("body", "gd").await?;
    operator.view("dead").await?;
    operator.picture("dead").await?;
    operator.click(&format!("#dead tr[data-key=\"{dead}\"] [data-action=\"replay\"]")).await?;
    operator.click("#confirm-yes").await?;
    patiently(LIMIT, "the dead job runs again, and dies again", || async {
        let report = admin.get(&format!("/admin/v1/jobs/{dead}")).await?.expect(200)?;
        let charges = report["ledger"].as_array().context("ledger")?.iter().filter(|entry| entry["kind"] == "charge");
        ensure!(charges.count() == 2, "{report}");
        Ok(())
    })
    .await?;
    let clean = quiet(&operator, &[]).await;
    operator.page.clone().close().await?;
    clean?;

    let caller = Browser::start("dark").await?;
    caller.page.goto(&format!("{}/console/", admin.url)).await?;
    caller.view("sign-in").await?;
    caller.write("#key", &client.key).await?;
    caller.click("#sign-in").await?;
    caller.view("usage").await?;
    caller.picture("usage-dark").await?;
    caller.click("#nav-ask").await?;
    caller.view("ask").await?;
    caller.write("#username", "console-asked").await?;
    caller.click("#submit-analysis").await?;
    caller.view("job").await?;
    caller.text("#job-state[data-state=\"completed\"]").await?;
    caller.text("#posts").await?;
    caller.picture("result-dark").await?;
    // A tenant's key opens nothing of the operator's, which is how the page finds out whose key it is.
    let clean = quiet(&caller, &["/admin/v1/health"]).await;
    caller.page.clone().close().await?;
    clean?;
    namespace.delete().await
}

/// A hundred thousand analyses that ended within the last months.
async fn history(namespace: &Namespace, tenant: &str) -> Result<()> {
    let client = namespace.database("main").await?;
    let insert = format!(
        "insert into switchyard.jobs (id, tenant_id, root_id, origin, kind, lane, state, username, input, turn, created_at, finished_at)
         select id, '{tenant}', id, 'api', 'general', 'normal', 'completed', 'profile' || n, '{{}}', at, at, at
         from (select n, now() - n * interval '1 minute' as at, gen_random_uuid() as random from generate_series(1, 100000) n) made
         cross join lateral (select (left(switchyard.first_id(at)::text, 14) || substr(random::text, 15))::uuid as id) ids;
         analyze switchyard.jobs"
    );
    client.batch_execute(&insert).await?;
    Ok(())
}

/// Nothing was loaded from elsewhere, and the page has nothing to complain of but `expected` refusals.
async fn quiet(browser: &Browser, expected: &[&str]) -> Result<()> {
    let foreign = browser
        .run("return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin + '/'))")
        .await?;
    ensure!(foreign.as_array().is_some_and(Vec::is_empty), "loaded from elsewhere: {foreign}");
    let log = browser.log().await?;
    let complaints: Vec<&String> =
        log.iter().filter(|line| !expected.iter().any(|expected| line.contains(expected))).collect();
    ensure!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}
