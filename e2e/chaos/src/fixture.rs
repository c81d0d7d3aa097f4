//! The fixture of a run: the servers, each behind a proxy, and direct connections to them.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use lapin::{ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use switchyard_contract::{Kind, Lane, Lanes, Tiers};
use switchyard_jobs::{
    model::Queue,
    testing::{Postgres, Rabbit, Redis},
};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, NoTls};

use crate::{
    checks,
    mounts::{self, Addresses},
    program::Program,
    proxy::Proxy,
};

/// Timeout of the setup.
const SETUP_TIMEOUT: Duration = Duration::from_mins(1);

/// A server that can be killed and restarted.
pub struct Server<T> {
    server: T,
    /// The holder may disturb the server and restores it before releasing the lock.
    fault_lock: Mutex<()>,
    pub proxy: Proxy,
}

impl<T> Server<T> {
    async fn new(server: T, port: u16) -> anyhow::Result<Self> {
        Ok(Self { server, fault_lock: Mutex::new(()), proxy: Proxy::start(port).await? })
    }

    /// Waits for exclusive access to kill or disturb the server.
    pub async fn lock(&self) -> (&T, MutexGuard<'_, ()>) {
        (&self.server, self.fault_lock.lock().await)
    }

    /// Waits until no fault is active.
    pub async fn wait_up(&self) {
        drop(self.fault_lock.lock().await);
    }
}

/// Servers, folders and addresses of a run.
pub struct Fixture {
    pub database: Server<Postgres>,
    pub broker: Server<Rabbit>,
    pub cache: Server<Redis>,
    /// Direct address of the broker, without the proxy.
    pub broker_uri: String,
    /// Direct address of the database, as its owner.
    database_uri: String,
    pub folder: TempDir,
    /// Folder of this program and `switchyard-api`.
    pub programs: PathBuf,
}

/// Replaces the port of an address; returns the original port and the new address.
fn with_port(uri: &str, port: u16) -> anyhow::Result<(u16, String)> {
    let (login, rest) = uri.rsplit_once("127.0.0.1:").context("the server is on loopback")?;
    let (old, path) = rest.split_once('/').context("the address has a path")?;
    Ok((old.parse()?, format!("{login}127.0.0.1:{port}/{path}")))
}

impl Fixture {
    /// Starts the servers, writes the mounts, and runs the platform's setup with its four roles.
    ///
    /// # Errors
    /// The program of the API is missing, a proxy or a mount cannot be created, the setup fails, or
    /// the database refuses a statement.
    pub async fn prepare() -> anyhow::Result<Self> {
        let programs = std::env::current_exe()?.parent().context("the program has a folder")?.to_owned();
        let api = programs.join("switchyard-api");
        ensure!(api.exists(), "{} is missing: build it first (cargo build -p switchyard-api)", api.display());

        // PostgreSQL stays durable, so that a kill tests real crash recovery. Commit timestamps
        // order the changes.
        let (postgres, rabbit, redis) =
            tokio::join!(Postgres::own(&["track_commit_timestamp=on"]), Rabbit::own(), Redis::own());
        let database_uri = postgres.bare_database().await.uri;
        let (broker_uri, cache_uri) = (rabbit.vhost(), redis.database());
        let port = |uri: &str| with_port(uri, 0).map(|(port, _)| port);
        let database = Server::new(postgres, port(&database_uri)?).await?;
        let broker = Server::new(rabbit, port(&broker_uri)?).await?;
        let cache = Server::new(redis, port(&cache_uri)?).await?;

        let folder = tempfile::Builder::new().prefix("switchyard-chaos-").tempdir()?;
        let addresses = Addresses {
            database: with_port(&database_uri, database.proxy.port)?.1,
            database_admin: database_uri.clone(),
            broker: with_port(&broker_uri, broker.proxy.port)?.1,
            cache: with_port(&cache_uri, cache.proxy.port)?.1,
        };
        mounts::write(folder.path(), &addresses)?;
        let fixture = Self { database, broker, cache, broker_uri, database_uri, folder, programs };
        fixture.set_up().await?;
        let client = fixture.client().await?;
        client.batch_execute(checks::AUDIT).await.context("could not create the harness' tables")?;
        put_limits(&client, &mounts::tiers(), &mounts::lanes()).await?;
        Ok(fixture)
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        let mount = mounts::folder(self.folder.path(), "setup");
        let log = self.log("setup");
        let environment = [("SWITCHYARD_DIR", mount.display().to_string())];
        let mut program =
            Program::start(&self.programs.join("switchyard-api"), &["setup".to_owned()], &environment, &log)?;
        let done = program.wait(SETUP_TIMEOUT).await.is_some_and(|status| status.success());
        ensure!(done, "the setup failed: {}", std::fs::read_to_string(log).unwrap_or_default());
        Ok(())
    }

    /// Log file of a process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// Connects directly to the database as its owner.
    ///
    /// # Errors
    /// The database accepts no connection.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.database_uri, NoTls).await?;
        tokio::spawn(async move {
            // The next call reports a broken connection.
            let _ = connection.await;
        });
        Ok(client)
    }

    /// Number of messages in each queue.
    ///
    /// # Errors
    /// The broker accepts no connection, or a queue does not exist.
    pub async fn depths(&self) -> anyhow::Result<Vec<(String, u32)>> {
        let connection = lapin::Connection::connect(&self.broker_uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
        let mut depths = Vec::new();
        for kind in Kind::ALL {
            for lane in Lane::ALL {
                let name = Queue { kind: *kind, lane: *lane }.to_string();
                let queue = channel.queue_declare(name.as_str().into(), passive, FieldTable::default()).await?;
                depths.push((name, queue.message_count()));
            }
        }
        connection.close(200, "done".into()).await?;
        Ok(depths)
    }

    /// Stops the servers and removes their data.
    pub fn stop(self) {
        self.database.server.end();
        self.broker.server.end();
        self.cache.server.end();
    }
}

/// Stores the limits that the checks compare with.
///
/// # Errors
/// A statement fails, for example because the limits are already stored.
pub async fn put_limits(client: &Client, tiers: &Tiers, lanes: &Lanes) -> Result<(), tokio_postgres::Error> {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    for tier in switchyard_contract::Tier::ALL {
        let limits = tiers.get(*tier);
        client
            .execute(
                "insert into chaos.tiers (tier, concurrent, daily) values ($1, $2, $3)",
                &[&tier.as_str(), &number(limits.concurrent), &limits.daily.map(number)],
            )
            .await?;
    }
    for lane in Lane::ALL {
        client
            .execute(
                "insert into chaos.lanes (lane, max_running) values ($1, $2)",
                &[&lane.as_str(), &number(lanes.get(*lane).max_running)],
            )
            .await?;
    }
    Ok(())
}
