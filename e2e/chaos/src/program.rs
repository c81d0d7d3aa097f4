//! Processes that end with this one, whatever ends it.

use std::{
    fs::OpenOptions,
    io,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

/// What can be sent to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end in good order.
    Terminate,
    /// Holds it where it is.
    Stop,
    /// Lets it go on.
    Continue,
}

/// A running program, killed when dropped.
pub struct Program {
    child: Child,
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts processes from one thread that never ends: the kernel's death signal comes with the end of the *thread* that made a process.
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
    /// Starts `program`; what it says is added to the file `log`.
    pub fn start(program: &Path, arguments: &[String], environment: &[(&str, String)], log: &Path) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // Becomes the program, so the pid stays.
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=KILL").arg("--").arg(program).args(arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: spawn(command)? })
    }

    /// Ends it on the spot.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal; to nobody, when it has ended.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        // The child has not been waited for, so the pid is still its own.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args([name, &pid]).stderr(Stdio::null()).status();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end; `None` when that takes longer than `patience`.
    pub async fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if began.elapsed() > patience {
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
    async fn a_program_that_heeds_the_signal_is_told_from_one_that_does_not() {
        // What was started says so in its log once its trap is set.
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
    async fn a_program_ends_with_whoever_holds_it() {
        let (program, _folder) = shell("sleep 600");
        let pid = program.child.id();
        drop(program);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
