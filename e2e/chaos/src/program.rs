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
