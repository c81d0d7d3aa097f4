//! Starts server processes that end with this one, and waits for them.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::sleep};

/// Creates a folder for one server of this process, and removes the folders of dead processes.
pub(super) fn folder(what: &str) -> PathBuf {
    let base = std::env::temp_dir();
    for entry in fs::read_dir(&base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix("switchyard-test-").and_then(|rest| rest.split('-').next())
            && pid.parse::<u32>().is_ok()
            && !Path::new("/proc").join(pid).exists()
        {
            // Another test binary may be removing it as well.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = base.join(format!("switchyard-test-{}-{what}", std::process::id()));
    fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("this process owns the folder");
    folder
}

/// A free port on loopback.
pub(super) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("loopback has a free port")
        .port()
}

/// The first user of `names` that exists, with uid and gid; `None` unless this process is root.
///
/// Servers refuse to run as root.
pub(super) fn unprivileged_user(names: &[&str]) -> Option<(String, u32, u32)> {
    let root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if !root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |wanted: &&str| {
        users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.as_slice() {
                [name, _, uid, gid, ..] if name == wanted => {
                    Some(((*name).to_owned(), uid.parse().ok()?, gid.parse().ok()?))
                }
                _ => None,
            }
        })
    };
    Some(names.iter().find_map(find).expect("one of the server's users exists"))
}

/// Changes the owner of a path.
pub(super) fn change_owner(folder: &Path, uid: u32, gid: u32) {
    chown(folder, Some(uid), Some(gid)).expect("root may change owners");
}

/// A command that receives `signal` when this process ends, as another user if one is given.
pub(super) fn child_command(program: &str, signal: &str, user: Option<&(String, u32, u32)>) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--pdeathsig={signal}"));
    if let Some((_, uid, gid)) = user {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
    }
    command.arg("--").arg(program).stdin(Stdio::null());
    command
}

/// Starts a server with its output in `log`.
///
/// Each server is the child of a thread that never ends. `PR_SET_PDEATHSIG` fires when the thread
/// that started the server exits, and threads of tests are short-lived.
pub(super) fn start(mut command: Command, log: &Path) {
    let (done, started) = mpsc::channel();
    let log = fs::File::create(log).expect("the server's folder can be written");
    command.stdout(log.try_clone().expect("a file handle can be cloned")).stderr(log);
    std::thread::Builder::new()
        .name("test-server".to_owned())
        .spawn(move || {
            let child = command.spawn();
            let _ = done.send(child.as_ref().map(|_| ()).map_err(ToString::to_string));
            if let Ok(mut child) = child {
                let _ = child.wait();
            }
            loop {
                std::thread::park();
            }
        })
        .expect("a thread can be started");
    started.recv().expect("the thread answers").expect("setpriv is installed (package util-linux)");
}

/// Waits until a server accepts connections at `port`.
///
/// # Panics
/// After a minute, with the server's log.
pub(super) async fn wait_until_listening(port: u16, log: &Path) {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "the server did not come up: {}",
            fs::read_to_string(log).unwrap_or_default()
        );
        sleep(Duration::from_millis(50)).await;
    }
}
