//! The platform's processes: each can be ended in any way, and comes back.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use switchyard_contract::Kind;

use crate::{
    checks::Broken,
    ground::Ground,
    mounts,
    program::{Program, Signal},
};

/// What is broken when a process does not end in good order.
pub const ENDS_WHEN_ASKED: &str = "processes_end_when_asked";

/// Longest that a process may take to end when it is asked to.
const GOOD_ORDER: Duration = Duration::from_secs(20);

/// A process that is started again whenever it has ended.
pub struct Member {
    pub name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    running: Mutex<Option<Program>>,
    /// Whoever holds it may end the process, and starts it again before letting go.
    pub turn: tokio::sync::Mutex<()>,
}

impl Member {
    fn with<T>(&self, act: impl FnOnce(&mut Option<Program>) -> T) -> T {
        act(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts it, unless it runs.
    pub fn start(&self) -> std::io::Result<()> {
        self.with(|running| {
            if running.as_mut().is_none_or(|program| program.ended().is_some()) {
                *running = Some(Program::start(&self.program, &self.arguments, &self.environment, &self.log)?);
            }
            Ok(())
        })
    }

    /// Ends it on the spot.
    pub fn kill(&self) {
        self.with(|running| *running = None);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.with(|running| running.as_ref().inspect(|program| program.signal(signal)).is_some());
    }

    /// Asks it to end and waits until it has; whether it did so in good order and in time. One that does not run has.
    pub async fn end(&self) -> bool {
        let Some(mut program) = self.with(Option::take) else { return true };
        program.signal(Signal::Terminate);
        program.wait(GOOD_ORDER).await.is_some_and(|status| status.success())
    }
}

/// All of them.
pub struct Fleet {
    pub apis: Vec<Member>,
    pub workers: Vec<Member>,
    /// Where the API processes answer.
    pub urls: Vec<String>,
}

/// Worker processes of each pool: two where most of the work is, so that they compete.
fn crew() -> impl Iterator<Item = (String, &'static str)> {
    mounts::POOLS.iter().flat_map(|(pool, kind, _)| {
        let count = if matches!(kind, Kind::General | Kind::Ai) { 2 } else { 1 };
        (0..count).map(move |n| (format!("{pool}-{n}"), *pool))
    })
}

impl Fleet {
    /// As many as there will be, before any is started.
    pub fn size(apis: usize) -> crate::plan::Fleet {
        crate::plan::Fleet { apis, workers: crew().count() }
    }

    /// Starts `apis` API processes and the workers.
    pub async fn start(ground: &Ground, apis: usize, log_level: &str) -> anyhow::Result<Self> {
        let root = ground.folder.path();
        let mut urls = Vec::new();
        let mut api = Vec::new();
        for n in 0..apis {
            let (callers, operations) = (free_port()?, free_port()?);
            urls.push(format!("http://127.0.0.1:{callers}"));
            let arguments = [
                "serve".to_owned(),
                format!("--listen=127.0.0.1:{callers}"),
                format!("--operations-listen=127.0.0.1:{operations}"),
                "--drain-seconds=0".to_owned(),
                "--grace-seconds=2".to_owned(),
                // Rate limits are not what this is about.
                "--rate-per-second=1000".to_owned(),
                "--rate-burst=1000".to_owned(),
            ];
            api.push(member(ground, root, &format!("api-{n}"), "api", "switchyard-api", arguments.to_vec(), log_level));
        }
        let workers = crew()
            .map(|(name, pool)| {
                member(ground, root, &name, pool, "switchyard-chaos", vec!["worker".to_owned()], log_level)
            })
            .collect();
        let fleet = Self { apis: api, workers, urls };
        fleet.all().try_for_each(Member::start)?;
        fleet.answering().await?;
        Ok(fleet)
    }

    /// Every process.
    pub fn all(&self) -> impl Iterator<Item = &Member> {
        self.apis.iter().chain(&self.workers)
    }

    /// Waits until each API process answers.
    pub async fn answering(&self) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        for url in &self.urls {
            let looking = async {
                while http.get(format!("{url}/openapi.json")).send().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), looking).await.with_context(|| format!("{url} is silent"))?;
        }
        Ok(())
    }

    /// Asks everything to end, and names what does not, or not in good order.
    pub async fn end(&self) -> Vec<Broken> {
        let ends = self.all().map(|member| async { (member.name.clone(), member.end().await) });
        let bad = futures::future::join_all(ends).await.into_iter().filter(|(_, good)| !good);
        bad.map(|(subject, _)| {
            let detail = format!("did not end within {} s of being asked to, or failed", GOOD_ORDER.as_secs());
            Broken { check: ENDS_WHEN_ASKED, subject, detail }
        })
        .collect()
    }
}

fn member(
    ground: &Ground,
    root: &Path,
    name: &str,
    workload: &str,
    program: &str,
    arguments: Vec<String>,
    log_level: &str,
) -> Member {
    Member {
        name: name.to_owned(),
        program: ground.programs.join(program),
        arguments,
        environment: vec![
            ("SWITCHYARD_DIR", mounts::folder(root, workload).display().to_string()),
            ("HOSTNAME", name.to_owned()),
            ("RUST_LOG", log_level.to_owned()),
            // Panics belong to the script.
            ("RUST_BACKTRACE", "0".to_owned()),
        ],
        log: ground.log(name),
        running: Mutex::new(None),
        turn: tokio::sync::Mutex::new(()),
    }
}

/// A port that nobody listens on now.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
