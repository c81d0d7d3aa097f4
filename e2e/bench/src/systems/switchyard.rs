//! Switchyard: the real API process, and a real worker process whose handler does nothing.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use secrecy::ExposeSecret as _;
use switchyard_contract::{
    Analysis, Config, ConnectionPool, Database, Kind, Lane, LaneLimits, Lanes, Mount, Platform, Pooler, Recovery,
    Retry, Role, RoleGrant, Tier, TierLimits, Tiers, Workload, files,
};
use switchyard_jobs::store::{Address, NewTenant, Policy, Store};

use crate::{
    fixture::Fixture,
    process::{Process, free_port, run},
};

/// Tenants; each request picks one at random.
pub const TENANTS: usize = 1000;
/// The template database that each measurement copies: migrated, with tenants, without jobs.
pub const TEMPLATE: &str = "switchyard";
/// A limit that is checked and never reached. The peers have the same.
const HIGH_LIMIT: u32 = 1_000_000;
/// Initial credits, enough for every run.
const CREDITS: i64 = 1_000_000_000;
/// Concurrent jobs per worker process, as many as River's.
const WORKER_CONCURRENCY: u32 = 2000;

/// The tenants' API keys.
pub type Keys = Vec<String>;

fn lanes() -> Lanes {
    let lane = LaneLimits { capacity: HIGH_LIMIT, max_running: HIGH_LIMIT, timeout_seconds: 600 };
    Lanes { critical: lane, high: lane, normal: lane, low: lane }
}

fn tiers() -> Tiers {
    let tier = TierLimits { concurrent: HIGH_LIMIT, daily: None, price: 5, lane: Lane::Critical };
    Tiers { free: tier, standard: tier, premium: tier, enterprise: tier }
}

fn config(workload: Workload, role: Role, connections: u32) -> Config {
    Config {
        platform: Platform { namespace: "bench".to_owned(), name: "bench".to_owned() },
        workload,
        database: Database {
            role,
            pooler: Pooler::None,
            connections: ConnectionPool {
                size: connections,
                overflow: 0,
                wait_timeout_seconds: 10,
                statement_timeout_seconds: 10,
            },
        },
        lanes: lanes(),
        tiers: tiers(),
        retry: Retry::default(),
        analysis: Analysis::default(),
        object_store: None,
        profile_source: None,
        telemetry: None,
        recovery: Recovery::default(),
    }
}

/// Configuration and secrets as the operator mounts them into the workloads.
pub struct Mounted {
    folder: tempfile::TempDir,
    /// Address of the cache.
    pub cache: String,
}

impl Mounted {
    /// Mounts `database` with a new RabbitMQ virtual host and a new Redis database.
    pub fn new(fixture: &Fixture, database: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(fixture.folder())?;
        let (broker, cache) = (fixture.rabbit.vhost(), fixture.redis.database());
        let put = |file, value: &str| write(Mount::at(folder.path()).secret_path(file), value.as_bytes());
        put(files::DATABASE_URI, &fixture.postgres.uri(database))?;
        put(files::BROKER_URI, &broker)?;
        put(files::CACHE_URI, &cache)?;
        put(files::ADMIN_KEY, "for-benchmarks")?;
        for role in Role::ALL {
            put(files::SecretFile { group: files::DATABASE_ROLES_GROUP, key: role.as_str() }, "for-benchmarks")?;
        }
        Ok(Self { folder, cache })
    }

    /// Writes the configuration of one workload and links the shared secrets; returns the folder.
    fn with(&self, name: &str, config: &Config) -> anyhow::Result<PathBuf> {
        let root = self.folder.path().join(name);
        std::fs::create_dir_all(&root)?;
        let secrets = root.join("secrets");
        if !secrets.exists() {
            std::os::unix::fs::symlink(self.folder.path().join("secrets"), secrets)?;
        }
        write(Mount::at(&root).config_path(), &serde_json::to_vec(config)?)?;
        Ok(root)
    }
}

fn write(path: PathBuf, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::create_dir_all(path.parent().context("the file has a folder")?)?;
    std::fs::write(path, bytes)?;
    Ok(())
}

/// Path of a Switchyard program in the folder of this one.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        Ok(path)
    } else {
        bail!("{} is missing: build it with 'cargo build --release -p {name}'", path.display())
    }
}

/// Opens a store on a database as its owner, to insert jobs.
pub fn store(fixture: &Fixture, database: &str) -> anyhow::Result<Store> {
    let address = Address::parse(&fixture.postgres.uri(database), "uri")?;
    let connections = ConnectionPool { size: 16, overflow: 0, wait_timeout_seconds: 60, statement_timeout_seconds: 60 };
    let policy = Policy { lanes: lanes(), tiers: tiers(), retry: Retry::default() };
    Ok(Store::open(&address, "switchyard-bench", connections, policy))
}

/// Creates the template with the real setup, and the tenants. `bench_tenants` lists the tenants for
/// the pgbench scripts.
pub async fn prepare(fixture: &Fixture) -> anyhow::Result<Keys> {
    let postgres = fixture.client("postgres").await?;
    postgres.batch_execute(&format!("create database {TEMPLATE}")).await?;
    let grant = |role| RoleGrant { role, connections: 80, statement_timeout_seconds: 10 };
    let setup = Workload::Setup { roles: Role::ALL.iter().copied().map(grant).collect() };
    let mounted = Mounted::new(fixture, TEMPLATE)?;
    let root = mounted.with("setup", &config(setup, Role::Api, 1))?;
    let mut command = Process::command(program("switchyard-api")?);
    command.arg("setup").env("SWITCHYARD_DIR", &root);
    run("switchyard-api setup", command).await?;

    let store = store(fixture, TEMPLATE)?;
    let tenants = futures::stream::iter(0..TENANTS).map(|number| {
        let store = &store;
        async move {
            let name = format!("tenant-{number}");
            let tenant = NewTenant { name: &name, tier: Tier::Enterprise, credits: CREDITS };
            let tenant = store.create_tenant(&tenant).await?.id;
            let key = store.create_key(tenant).await?.context("the new tenant exists")?;
            anyhow::Ok((tenant.0, key.secret.expose_secret().to_owned()))
        }
    });
    let tenants: Vec<_> = tenants.buffered(8).try_collect().await?;
    drop(store);

    let client = fixture.client(TEMPLATE).await?;
    client.batch_execute(include_str!("../../sql/bench_tenants.sql")).await?;
    for (number, (tenant, key)) in tenants.iter().enumerate() {
        let number = i32::try_from(number)?;
        let hash = switchyard_jobs::store::KeyHash::of(key).0;
        client
            .execute(
                "insert into bench_tenants (n, tenant_id, key_hash) values ($1, $2, $3)",
                &[&number, tenant, &&hash[..]],
            )
            .await?;
    }
    client.batch_execute("vacuum (analyze)").await?;
    Ok(tenants.into_iter().map(|(_, key)| key).collect())
}

/// A running API process.
pub struct Api {
    pub process: Process,
    pub address: SocketAddr,
}

impl Api {
    /// Starts the real program and waits until it is ready.
    pub async fn start(fixture: &Fixture, mounted: &Mounted) -> anyhow::Result<Self> {
        let root = mounted.with("api", &config(Workload::Api, Role::Api, 32))?;
        let (port, operations) = (free_port()?, free_port()?);
        let mut command = Process::command(program("switchyard-api")?);
        command.arg("serve");
        set_environment(&mut command, &root, operations);
        command
            .env("SWITCHYARD_LISTEN", format!("127.0.0.1:{port}"))
            .env("SWITCHYARD_DRAIN_SECONDS", "0")
            // The rate limit is checked for every request and never reached.
            .env("SWITCHYARD_RATE_PER_SECOND", "1000000")
            .env("SWITCHYARD_RATE_BURST", "1000000");
        let mut process = Process::start("switchyard-api", command, fixture.folder())?;
        process.wait_ready(operations).await?;
        Ok(Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }
}

/// Starts a worker process whose jobs sleep for `hold`.
pub async fn worker(fixture: &Fixture, mounted: &Mounted, hold: Duration) -> anyhow::Result<Process> {
    let mut command = Process::command(std::env::current_exe()?);
    command.arg("worker").arg("--hold-ms").arg(hold.as_millis().to_string());
    start(fixture, mounted, "switchyard-worker", command, Kind::General, WORKER_CONCURRENCY).await
}

/// Starts a worker process that fans out each analysis into chunks of posts.
pub async fn posts_worker(fixture: &Fixture, mounted: &Mounted) -> anyhow::Result<Process> {
    let mut command = Process::command(std::env::current_exe()?);
    command.arg("worker").arg("--posts").arg(&fixture.peers.texts);
    start(fixture, mounted, "switchyard-worker", command, Kind::General, 8).await
}

/// Starts the real AI worker with one model thread.
pub async fn ai_worker(fixture: &Fixture, mounted: &Mounted) -> anyhow::Result<Process> {
    let mut command = Process::command(program("switchyard-ai")?);
    command.env("SWITCHYARD_MODEL_DIR", &fixture.peers.model).env("SWITCHYARD_MODEL_THREADS", "1");
    start(fixture, mounted, "switchyard-ai", command, Kind::Ai, 8).await
}

async fn start(
    fixture: &Fixture,
    mounted: &Mounted,
    name: &str,
    mut command: tokio::process::Command,
    kind: Kind,
    concurrency: u32,
) -> anyhow::Result<Process> {
    let pool = Workload::Pool { name: "bench".to_owned(), kind, lanes: Lane::ALL.to_vec(), concurrency };
    let root = mounted.with(name, &config(pool, kind.role(), 16))?;
    let operations = free_port()?;
    set_environment(&mut command, &root, operations);
    let mut process = Process::start(name, command, fixture.folder())?;
    process.wait_ready(operations).await?;
    Ok(process)
}

fn set_environment(command: &mut tokio::process::Command, root: &Path, operations: u16) {
    command
        .env("SWITCHYARD_DIR", root)
        .env("SWITCHYARD_OPERATIONS_LISTEN", format!("127.0.0.1:{operations}"))
        .env("SWITCHYARD_GRACE_SECONDS", "2")
        .env("RUST_LOG", "warn");
}
