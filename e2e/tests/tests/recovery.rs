//! A job that takes its worker down each time is quarantined, seen as an Event and in the API, and costs nobody anything.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use switchyard_e2e::{ApiClient, Cluster, Namespace, Platform, patiently, profile_source};

/// A lease of 30 s, the delay before the next attempt, and the kubelet's before the next container.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits for an attempt of the job, and ends the worker that it runs on at once, as a crash in its middle would.
async fn crashes(namespace: &Namespace, client: &ApiClient, job: &str, attempt: u64) -> Result<()> {
    patiently(LIMIT, format!("attempt {attempt} runs"), || async {
        let now = client.get(&format!("/v1/jobs/{job}")).await?.expect(200)?;
        ensure!(now["state"] == "running" && now["attempt"] == attempt, "it is {now}");
        Ok(())
    })
    .await?;
    let pods = namespace.pods("switchyard.dev/kind=general").await?;
    let pod = pods.first().context("a general worker")?;
    let mut killed = 0;
    for process in namespace.processes(pod, "switchyard-worker").await? {
        killed += usize::from(Command::new("kill").args(["-9", &process.to_string()]).status()?.success());
    }
    ensure!(killed > 0, "no worker runs in {pod}");
    Ok(())
}

#[tokio::test]
async fn a_job_that_takes_its_worker_down_is_set_aside_and_the_rest_goes_on() -> Result<()> {
    let namespace = Cluster::connect().await?.namespace("recovery").await?;
    let source = profile_source(&namespace).await?;
    let spec = json!({
        "environment": "development", "profileSource": source, "retry": {"delays": ["1s", "1s", "1s", "1s"]},
    });
    let platform = Platform::ready(&namespace, "main", spec).await?;
    let admin = platform.admin().await?;
    let (tenant, client) = admin.tenant("standard", 1000).await?;

    // Its source takes 20 s, which is time enough to be killed in.
    let job = client.submit("slow-poison").await?;
    crashes(&namespace, &client, &job, 1).await?;
    crashes(&namespace, &client, &job, 2).await?;
    let ended = client.ended(&job, LIMIT).await?;
    ensure!(ended["state"] == "dead" && ended["error"]["code"] == "poisonous-job", "{ended}");
    let report = admin.get(&format!("/admin/v1/tenants/{tenant}")).await?.expect(200)?;
    ensure!(report["credits"] == 1000 && report["ledger_sum"] == 1000, "{report}");

    let next = client.submit("wholesome").await?;
    ensure!(client.ended(&next, LIMIT).await?["state"] == "completed");

    patiently(LIMIT, "the Event JobQuarantined", || async {
        let told = namespace.events("JobQuarantined").await?;
        ensure!(told.len() == 1 && told[0].contains(&job), "{told:?}");
        Ok(())
    })
    .await?;
    namespace.delete().await
}
