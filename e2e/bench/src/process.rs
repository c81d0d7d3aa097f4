//! Child processes: each logs to a file and ends with this process, however this process ends.

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

/// Longest time for a program to become ready, or to stop.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Offset in the log at which this run's output starts.
    log_from: usize,
}

impl Process {
    /// A command whose program ends with this process.
    ///
    /// Call it on the thread that calls `start`: the kernel sends the death signal when that thread
    /// ends.
    pub fn command(program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=TERM").arg("--").arg(program.as_ref()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts a command from [`Process::command`] and logs its output in `folder`.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let log_from = usize::try_from(output.metadata()?.len())?;
        command.stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("could not start setpriv (package util-linux)")?;
        Ok(Self { name: name.to_owned(), child, log, log_from })
    }

    /// The process id; 0 after it has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Waits until `/readyz` on the operations port returns 200.
    pub async fn wait_ready(&mut self, operations: u16) -> anyhow::Result<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], operations));
        self.wait_until("is not ready", async || {
            let Ok(mut connection) = Connection::open(address).await else { return false };
            let response = connection.exchange(b"GET /readyz HTTP/1.1\r\nHost: bench\r\n\r\n").await;
            response.is_ok_and(|response| response.status == 200)
        })
        .await
    }

    /// Waits until the log contains `words` at least `times` times.
    pub async fn wait_for_log(&mut self, words: &str, times: usize) -> anyhow::Result<()> {
        let log = self.log.clone();
        let from = self.log_from;
        self.wait_until("does not start", async || {
            let text = std::fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned();
            text.matches(words).count() >= times
        })
        .await
    }

    async fn wait_until(&mut self, failure: &str, condition: impl AsyncFn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        while !condition().await {
            self.ensure_running()?;
            if Instant::now() > deadline {
                bail!("{} {failure}: {}", self.name, self.log_tail());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Fails if the process has ended.
    pub fn ensure_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.name, self.log_tail()),
        }
    }

    /// Waits until the process has ended successfully.
    pub async fn wait_success(mut self, within: Duration) -> anyhow::Result<()> {
        match timeout(within, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => bail!("{} ended with {}: {}", self.name, status?, self.log_tail()),
            Err(_) => bail!("{} has not ended after {} s: {}", self.name, within.as_secs(), self.log_tail()),
        }
    }

    /// Sends SIGTERM, and SIGKILL if the process does not end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            let terminated = Command::new("kill").arg(pid.to_string()).status().await?;
            if !terminated.success() || timeout(TIMEOUT, self.child.wait()).await.is_err() {
                self.child.kill().await?;
            }
        }
        Ok(())
    }

    /// The last lines of the log.
    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Runs a command to its successful end and returns its standard output.
pub async fn run(name: &str, mut command: Command) -> anyhow::Result<String> {
    let output = command.output().await.with_context(|| format!("could not start {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Proportional set size (PSS) of a process and its children, in MiB.
pub fn memory_mib(pid: u32) -> f64 {
    let of_one = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        pss.and_then(|pss| pss.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    of_one(pid) + children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(memory_mib).sum::<f64>()
}

/// A free TCP port on loopback.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
