//! A job that repeatedly crashes its worker is quarantined and refunded; an Event and the API
//! report it.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use switchyard_e2e::{ApiClient, Cluster, Namespace, Platform, deploy_profile_source, eventually};

/// Covers a lease of 30 s, the retry delay and the kubelet's restart backoff.
const LIMIT: Duration = Duration::from_mins(2);

/// Waits until an attempt of the job runs, then kills its worker with SIGKILL.
async fn crash_worker_during(namespace: &Namespace, client: &ApiClient, job: &str, attempt: u64) -> Result<()> {
    eventually(LIMIT, format!("attempt {attempt} runs"), || async {
        let now = client.get(&format!("/v1/jobs/{job}")).await?.expect(200)?;
        ensure!(now["state"] == "running" && now["attempt"] == attempt, "job is {now}");
        Ok(())
    })
    .await?;
    let pods = namespace.pod_names("switchyard.dev/kind=general").await?;
    let pod = pods.first().context("a general worker")?;
    let mut killed = 0;
    for process in namespace.processes(pod, "switchyard-worker").await? {
        killed += usize::from(Command::new("kill").args(["-9", &process.to_string()]).status()?.success());
    }
    ensure!(killed > 0, "no worker runs in {pod}");
    Ok(())
}

#[tokio::test]
async fn job_that_crashes_its_worker_twice_is_quarantined_and_others_complete() -> Result<()> {
    let namespace = Cluster::connect().await?.create_namespace("recovery").await?;
    let source = deploy_profile_source(&namespace).await?;
    let spec = json!({
        "environment": "development", "profileSource": source, "retry": {"delays": ["1s", "1s", "1s", "1s"]},
    });
    let platform = Platform::ready(&namespace, "main", spec).await?;
    let admin = platform.admin().await?;
    let (tenant, client) = admin.create_tenant("standard", 1000).await?;

    // The stand-in takes 20 s for this profile, enough time to kill the worker.
    let job = client.submit("slow-poison").await?;
    crash_worker_during(&namespace, &client, &job, 1).await?;
    crash_worker_during(&namespace, &client, &job, 2).await?;
    let ended = client.wait_until_finished(&job, LIMIT).await?;
    ensure!(ended["state"] == "dead" && ended["error"]["code"] == "poisonous-job", "{ended}");
    let report = admin.get(&format!("/admin/v1/tenants/{tenant}")).await?.expect(200)?;
    ensure!(report["credits"] == 1000 && report["ledger_sum"] == 1000, "{report}");

    let next = client.submit("wholesome").await?;
    ensure!(client.wait_until_finished(&next, LIMIT).await?["state"] == "completed");

    eventually(LIMIT, "the Event JobQuarantined", || async {
        let messages = namespace.event_messages("JobQuarantined").await?;
        ensure!(messages.len() == 1 && messages[0].contains(&job), "{messages:?}");
        Ok(())
    })
    .await?;
    namespace.delete().await
}
