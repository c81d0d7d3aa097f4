//! Our side: the real API process and a real worker process whose handler does nothing.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use secrecy::ExposeSecret as _;
use switchyard_contract::{
    Analysis, Config, ConnectionPool, Database, Kind, Lane, LaneLimits, Lanes, Mount, Platform, Pooler, Retry, Role,
    RoleGrant, Tier, TierLimits, Tiers, Workload, files,
};
use switchyard_jobs::store::{Address, NewTenant, Policy, Store};

use crate::{
    ground::Ground,
    process::{Process, free_port, run},
};

/// Tenants that take turns in the requests.
pub const TENANTS: usize = 1000;
/// The database that others are copied from: migrated, with tenants, without jobs.
pub const TEMPLATE: &str = "switchyard";
/// Refuses nobody, and is still checked. The peers are given the same.
const PLENTY: u32 = 1_000_000;
/// Enough credits for every run.
const CREDITS: i64 = 1_000_000_000;
/// Jobs that one worker process runs at once, as River's.
const WORKER_CONCURRENCY: u32 = 2000;

/// The tenants' API keys.
pub type Keys = Vec<String>;

fn lanes() -> Lanes {
    let lane = LaneLimits { capacity: PLENTY, max_running: PLENTY, timeout_seconds: 600 };
    Lanes { critical: lane, high: lane, normal: lane, low: lane }
}

fn tiers() -> Tiers {
    let tier = TierLimits { concurrent: PLENTY, daily: None, price: 5, lane: Lane::Critical };
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
        recovery: Default::default(),
    }
}

/// What the workloads see of the world: addresses and secrets, as the operator mounts them.
pub struct Mounted {
    folder: tempfile::TempDir,
    pub cache: String,
}

impl Mounted {
    /// A world of its own for one run: a database, a virtual host and a cache that nobody has used.
    pub fn new(ground: &Ground, database: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(ground.folder())?;
        let (broker, cache) = (ground.rabbit.vhost(), ground.redis.database());
        let put = |file, value: &str| write(Mount::at(folder.path()).secret_path(file), value.as_bytes());
        put(files::DATABASE_URI, &ground.postgres.uri(database))?;
        put(files::BROKER_URI, &broker)?;
        put(files::CACHE_URI, &cache)?;
        put(files::ADMIN_KEY, "for-benchmarks")?;
        for role in Role::ALL {
            put(files::SecretFile { group: files::DATABASE_ROLES_GROUP, key: role.as_str() }, "for-benchmarks")?;
        }
        Ok(Self { folder, cache })
    }

    /// A folder with the configuration of one workload beside the same secrets.
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

/// A program of ours, beside this one.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    match path.exists() {
        true => Ok(path),
        false => bail!("{} is missing: build it with 'cargo build --release -p {name}'", path.display()),
    }
}

/// A store on a database, as its owner, for filling it.
pub fn store(ground: &Ground, database: &str) -> anyhow::Result<Store> {
    let address = Address::parse(&ground.postgres.uri(database), "uri")?;
    let connections = ConnectionPool { size: 16, overflow: 0, wait_timeout_seconds: 60, statement_timeout_seconds: 60 };
    let policy = Policy { lanes: lanes(), tiers: tiers(), retry: Retry::default() };
    Ok(Store::open(&address, "switchyard-bench", connections, policy))
}

/// Makes the template with the real setup, and its tenants. Beside the schema stands a list of the tenants that pgbench can draw from.
pub async fn prepare(ground: &Ground) -> anyhow::Result<Keys> {
    let postgres = ground.client("postgres").await?;
    postgres.batch_execute(&format!("create database {TEMPLATE}")).await?;
    let grant = |role| RoleGrant { role, connections: 80, statement_timeout_seconds: 10 };
    let setup = Workload::Setup { roles: Role::ALL.iter().copied().map(grant).collect() };
    let mounted = Mounted::new(ground, TEMPLATE)?;
    let root = mounted.with("setup", &config(setup, Role::Api, 1))?;
    let mut command = Process::command(program("switchyard-api")?);
    command.arg("setup").env("SWITCHYARD_DIR", &root);
    run("switchyard-api setup", command).await?;

    let store = store(ground, TEMPLATE)?;
    let tenants = futures::stream::iter(0..TENANTS).map(|number| {
        let store = &store;
        async move {
            let name = format!("tenant-{number}");
            let tenant = NewTenant { name: &name, tier: Tier::Enterprise, credits: CREDITS };
            let tenant = store.create_tenant(&tenant).await?.id;
            let key = store.create_key(tenant).await?.context("the tenant was just made")?;
            anyhow::Ok((tenant.0, key.secret.expose_secret().to_owned()))
        }
    });
    let tenants: Vec<_> = tenants.buffered(8).try_collect().await?;
    drop(store);

    let client = ground.client(TEMPLATE).await?;
    client.batch_execute(include_str!("../../sql/drawn.sql")).await?;
    for (number, (tenant, key)) in tenants.iter().enumerate() {
        let number = i32::try_from(number)?;
        let hash = switchyard_jobs::store::KeyHash::of(key).0;
        client
            .execute("insert into drawn (n, tenant_id, key_hash) values ($1, $2, $3)", &[&number, tenant, &&hash[..]])
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
    /// Starts the real program over what is mounted, and waits until it is ready.
    pub async fn start(ground: &Ground, mounted: &Mounted) -> anyhow::Result<Self> {
        let root = mounted.with("api", &config(Workload::Api, Role::Api, 32))?;
        let (port, operations) = (free_port()?, free_port()?);
        let mut command = Process::command(program("switchyard-api")?);
        command.arg("serve");
        workload(&mut command, &root, operations);
        command
            .env("SWITCHYARD_LISTEN", format!("127.0.0.1:{port}"))
            .env("SWITCHYARD_DRAIN_SECONDS", "0")
            // Counted for every request, and never too many.
            .env("SWITCHYARD_RATE_PER_SECOND", "1000000")
            .env("SWITCHYARD_RATE_BURST", "1000000");
        let mut process = Process::start("switchyard-api", command, ground.folder())?;
        process.ready(operations).await?;
        Ok(Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }
}

/// Starts a worker process that holds each job for `hold` and does nothing with it.
pub async fn worker(ground: &Ground, mounted: &Mounted, hold: Duration) -> anyhow::Result<Process> {
    let mut command = Process::command(std::env::current_exe()?);
    command.arg("worker").arg("--hold-ms").arg(hold.as_millis().to_string());
    start(ground, mounted, "switchyard-worker", command, Kind::General, WORKER_CONCURRENCY).await
}

/// Starts a worker process that fans analyses out to chunks of posts.
pub async fn posts_worker(ground: &Ground, mounted: &Mounted) -> anyhow::Result<Process> {
    let mut command = Process::command(std::env::current_exe()?);
    command.arg("worker").arg("--posts").arg(&ground.peers.texts);
    start(ground, mounted, "switchyard-worker", command, Kind::General, 8).await
}

/// Starts the real AI worker with one thread for its model.
pub async fn ai_worker(ground: &Ground, mounted: &Mounted) -> anyhow::Result<Process> {
    let mut command = Process::command(program("switchyard-ai")?);
    command.env("SWITCHYARD_MODEL_DIR", &ground.peers.model).env("SWITCHYARD_MODEL_THREADS", "1");
    start(ground, mounted, "switchyard-ai", command, Kind::Ai, 8).await
}

async fn start(
    ground: &Ground,
    mounted: &Mounted,
    name: &str,
    mut command: tokio::process::Command,
    kind: Kind,
    concurrency: u32,
) -> anyhow::Result<Process> {
    let pool = Workload::Pool { name: "bench".to_owned(), kind, lanes: Lane::ALL.to_vec(), concurrency };
    let root = mounted.with(name, &config(pool, kind.role(), 16))?;
    let operations = free_port()?;
    workload(&mut command, &root, operations);
    let mut process = Process::start(name, command, ground.folder())?;
    process.ready(operations).await?;
    Ok(process)
}

fn workload(command: &mut tokio::process::Command, root: &Path, operations: u16) {
    command
        .env("SWITCHYARD_DIR", root)
        .env("SWITCHYARD_OPERATIONS_LISTEN", format!("127.0.0.1:{operations}"))
        .env("SWITCHYARD_GRACE_SECONDS", "2")
        .env("RUST_LOG", "warn");
}
