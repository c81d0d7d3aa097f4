//! Private PostgreSQL servers and databases.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use switchyard_contract::ConnectionPool;
use tokio::{sync::OnceCell, time::sleep};
use tokio_postgres::{Client, NoTls};

use super::server::{change_owner, child_command, folder, free_port, start, unprivileged_user};
use crate::store::{Address, Policy, Store, migrate};

/// Not a secret: the server listens on loopback while a test runs.
pub(super) const PASSWORD: &str = "for-tests";
/// A migrated database that others are copied from.
const TEMPLATE: &str = "switchyard_template";

/// A private PostgreSQL.
pub struct Postgres {
    pub(super) port: u16,
    pub(super) folder: PathBuf,
    pub(super) user: Option<(String, u32, u32)>,
    /// Settings of this server, as `name=value`.
    pub(super) settings: Vec<String>,
    pub(super) databases: AtomicU32,
}

/// A migrated database of its own.
pub struct TestDatabase {
    /// As the server's superuser.
    pub uri: String,
}

/// This test binary's PostgreSQL, started at the first call.
pub async fn postgres() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    SERVER.get_or_init(Postgres::start).await
}

impl Postgres {
    /// A server for the caller alone, which may kill and start it, with these settings
    /// (`name=value`).
    ///
    /// Commits survive [`Postgres::kill`]. Only [`Postgres::bare_database`] works on it.
    pub async fn own(settings: &[&str]) -> Self {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("postgres-own{}", SERVERS.fetch_add(1, Ordering::Relaxed));
        let postgres = Self::make_cluster(&name, settings);
        postgres.up().await;
        postgres
    }

    async fn start() -> Self {
        // Tests need no durability across power failures.
        let postgres = Self::make_cluster("postgres", &["fsync=off", "full_page_writes=off"]);
        postgres.up().await;
        let client = connect(&postgres.uri("postgres")).await.expect("PostgreSQL accepts connections");
        client.batch_execute(&format!("create database {TEMPLATE}")).await.expect("a database can be created");
        let mut template = connect(&postgres.uri(TEMPLATE)).await.expect("the template accepts connections");
        migrate(&mut template).await.expect("the schema can be created");
        postgres
    }

    fn make_cluster(name: &str, settings: &[&str]) -> Self {
        let folder = folder(name);
        let user = unprivileged_user(&["postgres", "nobody"]);
        let password = folder.join("password");
        fs::write(&password, PASSWORD).expect("the folder can be written");
        if let Some((_, uid, gid)) = &user {
            change_owner(&folder, *uid, *gid);
            change_owner(&password, *uid, *gid);
        }
        let data = folder.join("data");
        let output = child_command(&program("initdb"), "KILL", user.as_ref())
            .current_dir(&folder)
            .arg(format!("--pgdata={}", data.display()))
            .arg(format!("--pwfile={}", password.display()))
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .output()
            .expect("setpriv is installed (package util-linux)");
        assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));

        // The superuser needs no password: SCRAM costs 0.1 s per login in an unoptimized test.
        fs::write(
            data.join("pg_hba.conf"),
            "host all,replication postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
        )
        .expect("the server's folder can be written");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Self { port: free_port(), folder, user, settings, databases: AtomicU32::new(0) }
    }

    /// Starts the server and waits for it; after [`Postgres::kill`].
    ///
    /// # Panics
    /// The server accepts no connection after a minute.
    pub async fn up(&self) {
        let mut server = child_command(&program("postgres"), "QUIT", self.user.as_ref());
        server.current_dir(&self.folder).arg("-D").arg(self.folder.join("data")).arg("-p").arg(self.port.to_string());
        for setting in
            ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=400", "shared_buffers=64MB"]
        {
            server.arg("-c").arg(setting);
        }
        for setting in &self.settings {
            server.arg("-c").arg(setting);
        }
        let log = self.folder.join("log");
        start(server, &log);
        let began = Instant::now();
        while let Err(error) = connect(&self.uri("postgres")).await {
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "PostgreSQL did not come up: {error}; {}",
                fs::read_to_string(log).unwrap_or_default()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills the server and its processes with SIGKILL, like the end of its container.
    ///
    /// # Panics
    /// The server is not running, or it has not exited after 20 s.
    pub fn kill(&self) {
        let file =
            fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("a running server writes its pid");
        let first = file.lines().next().expect("the pid is on the first line").trim().to_owned();
        let mut pids = children(&first);
        pids.insert(0, first);
        // A child may exit meanwhile.
        let _ = Command::new("kill").arg("-KILL").args(&pids).stderr(Stdio::null()).status();
        let began = Instant::now();
        while pids.iter().any(|pid| Path::new("/proc").join(pid).exists()) {
            assert!(began.elapsed() < Duration::from_secs(20), "PostgreSQL did not exit");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the server and removes its folder.
    pub fn end(self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Address of a database of this server, as its superuser. Other roles need a password.
    pub fn uri(&self, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// An empty database, without the schema.
    pub async fn bare_database(&self) -> TestDatabase {
        self.make("template1").await
    }

    /// A fresh migrated database.
    pub async fn database(&self) -> TestDatabase {
        self.make(TEMPLATE).await
    }

    async fn make(&self, template: &str) -> TestDatabase {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let client = connect(&self.uri("postgres")).await.expect("PostgreSQL accepts connections");
        // The template's connection may take a moment to close.
        let began = Instant::now();
        while let Err(error) = client.batch_execute(&format!("create database {name} template {template}")).await {
            assert!(began.elapsed() < Duration::from_secs(20), "could not create a database: {error}");
            sleep(Duration::from_millis(50)).await;
        }
        TestDatabase { uri: self.uri(&name) }
    }
}

impl TestDatabase {
    /// A store of eight connections.
    pub fn store(&self, policy: Policy) -> Store {
        self.store_of(8, policy)
    }

    /// A store of `size` connections.
    ///
    /// # Panics
    /// Never: the address is valid.
    pub fn store_of(&self, size: u32, policy: Policy) -> Store {
        let address = Address::parse(&self.uri, "uri").expect("the test's own address is valid");
        let connections = ConnectionPool { size, overflow: 0, wait_timeout_seconds: 20, statement_timeout_seconds: 20 };
        Store::open(&address, "switchyard-test", connections, policy)
    }

    /// A plain connection, to inspect and change the database.
    ///
    /// # Panics
    /// The server accepts no connection.
    pub async fn client(&self) -> Client {
        connect(&self.uri).await.expect("PostgreSQL accepts connections")
    }
}

pub(super) async fn connect(uri: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(uri, NoTls).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(client)
}

/// Pids of a process' children.
fn children(parent: &str) -> Vec<String> {
    let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().map(ToOwned::to_owned))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        // State and parent follow the name, which is in parentheses.
        .filter(|pid| of(pid).rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(parent))
        .collect()
}

/// Path of one of the server's programs.
pub(super) fn program(name: &str) -> String {
    binaries().join(name).to_string_lossy().into_owned()
}

/// Folder of the newest packaged PostgreSQL's programs.
fn binaries() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().expect("PostgreSQL is installed (package postgresql)").1
}
