//! The platform's processes, which the harness stops, kills and restarts.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use parking_lot::Mutex;
use switchyard_contract::Kind;

use crate::{
    checks::Violation,
    fixture::Fixture,
    mounts,
    plan::ProcessCounts,
    program::{Program, Signal},
};

/// Name of the check that every process ends cleanly after SIGTERM.
pub const ENDS_WHEN_ASKED: &str = "processes_end_when_asked";

/// Longest time for a process to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A process that can be restarted.
pub struct ManagedProcess {
    pub name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    running: Mutex<Option<Program>>,
    /// The holder may end the process and starts it again before releasing the lock.
    pub restart_lock: tokio::sync::Mutex<()>,
}

impl ManagedProcess {
    fn with<T>(&self, act: impl FnOnce(&mut Option<Program>) -> T) -> T {
        act(&mut self.running.lock())
    }

    /// Starts the process unless it is running.
    ///
    /// # Errors
    /// The program or its log cannot be opened.
    pub fn start(&self) -> std::io::Result<()> {
        self.with(|running| {
            if running.as_mut().is_none_or(|program| program.ended().is_some()) {
                *running = Some(Program::start(&self.program, &self.arguments, &self.environment, &self.log)?);
            }
            Ok(())
        })
    }

    /// Kills the process.
    pub fn kill(&self) {
        self.with(|running| *running = None);
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        self.with(|running| running.as_ref().inspect(|program| program.signal(signal)).is_some());
    }

    /// Sends SIGTERM and waits for the end. Returns whether the process ended successfully and in
    /// time, or was not running.
    pub async fn stop(&self) -> bool {
        let Some(mut program) = self.with(Option::take) else { return true };
        program.signal(Signal::Terminate);
        program.wait(STOP_TIMEOUT).await.is_some_and(|status| status.success())
    }
}

/// The processes of a run.
pub struct Processes {
    pub apis: Vec<ManagedProcess>,
    pub workers: Vec<ManagedProcess>,
    /// Base URLs of the API processes.
    pub urls: Vec<String>,
}

/// Name and pool of each worker process: two for the kinds with most of the work, so that they
/// compete.
fn worker_names() -> impl Iterator<Item = (String, &'static str)> {
    mounts::POOLS.iter().flat_map(|(pool, kind, _)| {
        let count = if matches!(kind, Kind::General | Kind::Ai) { 2 } else { 1 };
        (0..count).map(move |n| (format!("{pool}-{n}"), *pool))
    })
}

impl Processes {
    /// The number of processes that [`Processes::start`] starts.
    pub fn counts(apis: usize) -> ProcessCounts {
        ProcessCounts { apis, workers: worker_names().count() }
    }

    /// Starts `apis` API processes and the workers, and waits until the API responds.
    ///
    /// # Errors
    /// No port is free, a process cannot be started, or the API does not respond within 30 seconds.
    pub async fn start(fixture: &Fixture, apis: usize, log_level: &str) -> anyhow::Result<Self> {
        let root = fixture.folder.path();
        let mut urls = Vec::new();
        let mut api = Vec::new();
        for n in 0..apis {
            let (api_port, operations) = (free_port()?, free_port()?);
            urls.push(format!("http://127.0.0.1:{api_port}"));
            let arguments = [
                "serve".to_owned(),
                format!("--listen=127.0.0.1:{api_port}"),
                format!("--operations-listen=127.0.0.1:{operations}"),
                "--drain-seconds=0".to_owned(),
                "--grace-seconds=2".to_owned(),
                // Rate limits are not under test.
                "--rate-per-second=1000".to_owned(),
                "--rate-burst=1000".to_owned(),
            ];
            api.push(process(
                fixture,
                root,
                &format!("api-{n}"),
                "api",
                "switchyard-api",
                arguments.to_vec(),
                log_level,
            ));
        }
        let workers = worker_names()
            .map(|(name, pool)| {
                process(fixture, root, &name, pool, "switchyard-chaos", vec!["worker".to_owned()], log_level)
            })
            .collect();
        let processes = Self { apis: api, workers, urls };
        processes.all().try_for_each(ManagedProcess::start)?;
        processes.wait_responding().await?;
        Ok(processes)
    }

    /// All processes.
    pub fn all(&self) -> impl Iterator<Item = &ManagedProcess> {
        self.apis.iter().chain(&self.workers)
    }

    /// Waits until each API process responds.
    ///
    /// # Errors
    /// A process of the API does not respond within 30 seconds.
    pub async fn wait_responding(&self) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        for url in &self.urls {
            let responding = async {
                while http.get(format!("{url}/openapi.json")).send().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), responding)
                .await
                .with_context(|| format!("{url} does not respond"))?;
        }
        Ok(())
    }

    /// Stops all processes and returns a violation for each that does not end cleanly.
    pub async fn stop(&self) -> Vec<Violation> {
        let stops = self.all().map(|process| async { (process.name.clone(), process.stop().await) });
        let unclean = futures::future::join_all(stops).await.into_iter().filter(|(_, good)| !good);
        unclean
            .map(|(subject, _)| {
                let detail = format!("did not end within {} s of SIGTERM, or failed", STOP_TIMEOUT.as_secs());
                Violation { check: ENDS_WHEN_ASKED, subject, detail }
            })
            .collect()
    }
}

fn process(
    fixture: &Fixture,
    root: &Path,
    name: &str,
    workload: &str,
    program: &str,
    arguments: Vec<String>,
    log_level: &str,
) -> ManagedProcess {
    ManagedProcess {
        name: name.to_owned(),
        program: fixture.programs.join(program),
        arguments,
        environment: vec![
            ("SWITCHYARD_DIR", mounts::folder(root, workload).display().to_string()),
            ("HOSTNAME", name.to_owned()),
            ("RUST_LOG", log_level.to_owned()),
            // The script includes panics.
            ("RUST_BACKTRACE", "0".to_owned()),
        ],
        log: fixture.log(name),
        running: Mutex::new(None),
        restart_lock: tokio::sync::Mutex::new(()),
    }
}

/// A free TCP port on loopback.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
