use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

use super::server::{folder, free_port, listening, start, tied};

const DATABASES: u32 = 256;

/// A private Redis.
pub struct Redis {
    port: u16,
    databases: AtomicU32,
}

/// This test binary's Redis, started at the first call.
pub async fn redis() -> &'static Redis {
    static SERVER: OnceCell<Redis> = OnceCell::const_new();
    SERVER.get_or_init(Redis::start).await
}

impl Redis {
    async fn start() -> Self {
        assert!(
            std::path::Path::new("/usr/bin/redis-server").exists(),
            "Redis is not installed (package redis-server)"
        );
        let folder = folder("redis");
        let port = free_port();
        let mut server = tied("/usr/bin/redis-server", "KILL", None);
        server.current_dir(&folder).args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        server.args(["--databases", &DATABASES.to_string()]);
        let log = folder.join("log");
        start(server, &log);
        listening(port, &log).await;
        Self { port, databases: AtomicU32::new(0) }
    }

    /// Address of a database that no other test of this binary uses.
    pub fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        assert!(number < DATABASES, "more tests than databases");
        format!("redis://127.0.0.1:{}/{number}", self.port)
    }
}
