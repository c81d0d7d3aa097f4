//! Programs that the benchmarks start: each with its output in a log, and ended with this process whatever happens.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::load::Connection;

/// How long a program may take to come up, or to go away.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where in the log this run's words begin.
    log_from: usize,
}

impl Process {
    /// A command whose program ends with this process. Use it where `start` is called: the program is tied to the calling thread.
    pub fn command(program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=TERM").arg("--").arg(program.as_ref()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts a command made by [`Process::command`], with its output in `folder`.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let log_from = usize::try_from(output.metadata()?.len())?;
        command.stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("setpriv is missing (package util-linux)")?;
        Ok(Self { name: name.to_owned(), child, log, log_from })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Waits until its operations port says that it is ready.
    pub async fn ready(&mut self, operations: u16) -> anyhow::Result<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], operations));
        self.until("is not ready", async || {
            let Ok(mut connection) = Connection::open(address).await else { return false };
            let answer = connection.exchange(b"GET /readyz HTTP/1.1\r\nHost: bench\r\n\r\n").await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await
    }

    /// Waits until its log has `words` so many times.
    pub async fn says(&mut self, words: &str, times: usize) -> anyhow::Result<()> {
        let log = self.log.clone();
        let from = self.log_from;
        self.until("does not come up", async || {
            let text = std::fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned();
            text.matches(words).count() >= times
        })
        .await
    }

    async fn until(&mut self, otherwise: &str, come: impl AsyncFn() -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !come().await {
            self.alive()?;
            if Instant::now() > until {
                bail!("{} {otherwise}: {}", self.name, self.last_words());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Fails when it has ended.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.name, self.last_words()),
        }
    }

    /// Waits for its good end.
    pub async fn ended(mut self, within: Duration) -> anyhow::Result<()> {
        match timeout(within, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => bail!("{} ended with {}: {}", self.name, status?, self.last_words()),
            Err(_) => bail!("{} is not done after {} s: {}", self.name, within.as_secs(), self.last_words()),
        }
    }

    /// Asks it to end, and makes it end when it does not.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            let asked = Command::new("kill").arg(pid.to_string()).status().await?;
            if !asked.success() || timeout(PATIENCE, self.child.wait()).await.is_err() {
                self.child.kill().await?;
            }
        }
        Ok(())
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Runs a command to its good end and answers what it printed.
pub async fn run(name: &str, mut command: Command) -> anyhow::Result<String> {
    let output = command.output().await.with_context(|| format!("{name} cannot be started"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Resident memory of a process and its children, shared pages divided among those who share them, in MiB.
pub fn memory_mib(pid: u32) -> f64 {
    let of_one = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        pss.and_then(|pss| pss.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    of_one(pid) + children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(memory_mib).sum::<f64>()
}

/// A port that nobody listens on now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
