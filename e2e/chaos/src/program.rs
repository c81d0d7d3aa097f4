//! Child processes that end with this process, however it ends.

use std::{
    fs::OpenOptions,
    io,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

/// Signals that the harness sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// A running program, killed when dropped.
pub struct Program {
    child: Child,
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts processes from one thread that never ends, because the kernel sends the death signal when
/// the *thread* that created a process ends.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<std::sync::Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, taken) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in taken {
                let _ = answer.send(command.spawn());
            }
        });
        std::sync::Mutex::new(orders)
    });
    let gone = || io::Error::other("the thread that starts processes has ended");
    let (answer, answered) = mpsc::channel();
    spawner.lock().map_err(|_| gone())?.send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

impl Program {
    /// Starts `program` and appends its output to the file `log`.
    ///
    /// # Errors
    /// The log cannot be opened, or `setpriv` cannot be started.
    pub fn start(program: &Path, arguments: &[String], environment: &[(&str, String)], log: &Path) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // setpriv replaces itself with the program, so the pid stays the same.
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=KILL").arg("--").arg(program).args(arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: spawn(command)? })
    }

    /// Kills the program and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal, unless the program has ended.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        // The child has not been reaped, so its pid is not reused.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args([name, &pid]).stderr(Stdio::null()).status();
    }

    /// The exit status, if the program has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end; `None` after `timeout`.
    pub async fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if began.elapsed() > timeout {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Program, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["-c".to_owned(), script.to_owned()];
        let program = Program::start(Path::new("/bin/sh"), &arguments, &[], &folder.path().join("log")).unwrap();
        (program, folder)
    }

    #[tokio::test]
    async fn wait_tells_whether_a_program_obeys_sigterm() {
        // The script writes to its log once its trap is set.
        let ready = async |folder: &tempfile::TempDir| {
            while std::fs::read_to_string(folder.path().join("log")).unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let (mut good, folder) = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done");
        ready(&folder).await;
        good.signal(Signal::Terminate);
        assert!(good.wait(Duration::from_secs(20)).await.is_some_and(|status| status.success()));
        let (mut bad, folder) = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
        ready(&folder).await;
        bad.signal(Signal::Terminate);
        assert_eq!(bad.wait(Duration::from_millis(300)).await, None);
    }

    #[tokio::test]
    async fn dropping_a_program_kills_it() {
        let (program, _folder) = shell("sleep 600");
        let pid = program.child.id();
        drop(program);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
