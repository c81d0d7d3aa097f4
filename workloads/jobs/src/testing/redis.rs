//! A private Redis.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::sync::OnceCell;

use super::{
    certificates::Certificates,
    server::{child_command, folder, free_port, start, wait_until_listening},
};

const DATABASES: u32 = 256;

/// A private Redis.
pub struct Redis {
    port: u16,
    folder: PathBuf,
    /// Accepts TLS connections only.
    certificates: Option<Certificates>,
    databases: AtomicU32,
}

/// This test binary's Redis, started at the first call.
pub async fn redis() -> &'static Redis {
    static SERVER: OnceCell<Redis> = OnceCell::const_new();
    SERVER.get_or_init(Redis::start).await
}

impl Redis {
    /// A server for the caller alone, which may kill and start it. It does not persist.
    pub async fn own() -> Self {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        Self::launch(&format!("redis-own{}", SERVERS.fetch_add(1, Ordering::Relaxed)), None).await
    }

    /// A server for the caller alone that accepts TLS connections only.
    pub async fn encrypted(certificates: Certificates) -> Self {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        Self::launch(&format!("redis-tls{}", SERVERS.fetch_add(1, Ordering::Relaxed)), Some(certificates)).await
    }

    async fn start() -> Self {
        Self::launch("redis", None).await
    }

    async fn launch(name: &str, certificates: Option<Certificates>) -> Self {
        assert!(
            std::path::Path::new("/usr/bin/redis-server").exists(),
            "Redis is not installed (package redis-server)"
        );
        let redis = Self { port: free_port(), folder: folder(name), certificates, databases: AtomicU32::new(0) };
        redis.up().await;
        redis
    }

    /// Starts the server and waits for it; after [`Redis::kill`].
    pub async fn up(&self) {
        let mut server = child_command("/usr/bin/redis-server", "KILL", None);
        server.current_dir(&self.folder).args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        server.args(["--databases", &DATABASES.to_string()]);
        match &self.certificates {
            None => server.args(["--port", &self.port.to_string()]),
            Some(certificates) => server
                .args(["--port", "0", "--tls-port", &self.port.to_string(), "--tls-auth-clients", "no"])
                .arg("--tls-cert-file")
                .arg(certificates.certificate())
                .arg("--tls-key-file")
                .arg(certificates.key())
                .arg("--tls-ca-cert-file")
                .arg(certificates.authority_file()),
        };
        server.arg("--pidfile").arg(self.folder.join("pid"));
        let log = self.folder.join("log");
        start(server, &log);
        wait_until_listening(self.port, &log).await;
    }

    /// Kills the server with SIGKILL; its data is lost.
    ///
    /// # Panics
    /// The server is not running, or `kill` is not installed.
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.folder.join("pid")).expect("a running server has written its pid");
        let killed =
            Command::new("kill").args(["-KILL", pid.trim()]).status().expect("kill is installed (package procps)");
        assert!(killed.success());
        let _ = fs::remove_file(self.folder.join("pid"));
    }

    /// Kills the server and removes its folder.
    pub fn end(self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Address of a database that no other test of this binary uses.
    ///
    /// # Panics
    /// The tests of the binary have used all databases.
    pub fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "more tests than databases");
        match &self.certificates {
            None => format!("redis://127.0.0.1:{}/{number}", self.port),
            Some(_) => format!("rediss://localhost:{}/{number}", self.port),
        }
    }
}
