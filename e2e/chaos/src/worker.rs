//! A worker process: the real runner with a handler that follows the [`script`](crate::script).

use std::{future::pending, sync::Arc, time::Duration};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use switchyard_contract::{
    Config, Mount,
    files::{BROKER_URI, CACHE_URI},
};
use switchyard_jobs::{
    broker::Broker,
    cache::Cache,
    handler::{Child, ClaimedJob, Handler, Outcome, RunContext, Step},
    model::JobError,
    runner::{Metrics, Runner, Timing},
    service::shutdown,
    store::Store,
};
use tokio::time::sleep;
use uuid::Uuid;

use crate::script::{self, Action, Part};

/// Lease duration, short so that a paused worker soon exceeds it.
pub const LEASE: Duration = Duration::from_secs(3);
/// Grace period after SIGTERM, shorter than some jobs, so that workers hand jobs back.
const GRACE: Duration = Duration::from_millis(100);

/// Runs the jobs of the pool that `mount` describes until SIGTERM.
///
/// # Errors
/// The configuration, a Secret or an address is invalid, or the runner fails.
pub async fn run(mount: &Mount) -> anyhow::Result<()> {
    let stop = shutdown::signal();
    let config = Arc::new(Config::load(mount)?);
    let ttl = Duration::from_secs(config.analysis.result_ttl_seconds);
    let broker = Broker::connect(&mount.secret(BROKER_URI)?, "switchyard-chaos")?;
    let runner = Runner {
        store: Store::connect(&config, mount)?,
        broker: broker.clone(),
        cache: Cache::connect(&mount.secret(CACHE_URI)?, ttl)?,
        metrics: Metrics::register(&mut Registry::default()),
        timing: Timing { lease: LEASE, grace: GRACE },
        memory_limit: None,
        config,
    };
    runner.run(Arc::new(Scripted), stop).await.context("could not run jobs")?;
    broker.close().await;
    Ok(())
}

struct Scripted;

#[async_trait::async_trait]
impl Handler for Scripted {
    async fn run(&self, job: &ClaimedJob, context: &RunContext) -> Result<Outcome, JobError> {
        // Identifies this attempt, so that two results of one job differ.
        let attempt = Uuid::new_v4();
        let name = Part::name_in(&job.input).unwrap_or(&job.username);
        context.progress.report(5, "working");
        sleep(script::work(name, job.attempt)).await;
        context.progress.report(10, "worked");
        let output = |joined: usize| json!({ "by": attempt, "name": name, "joined": joined });
        if let Step::Join { children, .. } = &job.step {
            return Ok(Outcome::Complete(output(children.len())));
        }
        let act = if job.id == job.root {
            script::analysis(&job.username, job.attempt, job.input.get("depth").and_then(Value::as_i64).unwrap_or(0))
        } else {
            script::part(name, job.attempt)
        };
        match act {
            Action::Complete => Ok(Outcome::Complete(output(0))),
            Action::Discover(usernames) => Ok(Outcome::CompleteAndDiscover { output: output(0), usernames }),
            Action::Spawn(parts) => {
                let child = |part: &Part| Child { kind: part.kind, input: part.input(), required: part.required };
                let children = parts.iter().map(child).collect();
                Ok(Outcome::Spawn { kept: json!({ "by": attempt }), children, stage: "joining" })
            }
            Action::FailTransiently => Err(JobError::transient("stumbled", "as the script says")),
            Action::FailPermanently => Err(JobError::permanent("refused", "as the script says")),
            Action::Overrun => pending().await,
            #[expect(clippy::panic, reason = "the fault that the script wants")]
            Action::Panic => panic!("as the script says"),
        }
    }
}
