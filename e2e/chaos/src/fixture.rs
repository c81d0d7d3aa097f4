//! The servers of a run, each behind a wire, and the database's owner's view.

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

/// Longest that the setup may take.
const SET_UP: Duration = Duration::from_secs(60);

/// A server that can be killed and comes back.
pub struct Server<T> {
    server: T,
    /// Whoever holds it may kill the server, and starts it again before letting go.
    turn: Mutex<()>,
    pub wire: Proxy,
}

impl<T> Server<T> {
    async fn new(server: T, port: u16) -> anyhow::Result<Self> {
        Ok(Self { server, turn: Mutex::new(()), wire: Proxy::start(port).await? })
    }

    /// The server to be killed or disturbed, as soon as nobody else does that.
    pub async fn mine(&self) -> (&T, MutexGuard<'_, ()>) {
        (&self.server, self.turn.lock().await)
    }

    /// Waits until nobody has it down.
    pub async fn up(&self) {
        drop(self.turn.lock().await);
    }
}

/// Servers, folders, addresses.
pub struct Ground {
    pub database: Server<Postgres>,
    pub broker: Server<Rabbit>,
    pub cache: Server<Redis>,
    /// The broker past its wire.
    pub broker_uri: String,
    database_uri: String,
    pub folder: TempDir,
    /// Where this program and the API's lie.
    pub programs: PathBuf,
}

/// `host:port` of an address replaced by the wire's.
fn behind(uri: &str, port: u16) -> anyhow::Result<(u16, String)> {
    let (login, rest) = uri.rsplit_once("127.0.0.1:").context("the server is on loopback")?;
    let (old, path) = rest.split_once('/').context("the address has a path")?;
    Ok((old.parse()?, format!("{login}127.0.0.1:{port}/{path}")))
}

impl Ground {
    /// Starts the servers, writes what is mounted, and runs the platform's own setup with its four roles.
    pub async fn prepare() -> anyhow::Result<Self> {
        let programs = std::env::current_exe()?.parent().context("a program lies in a folder")?.to_owned();
        let api = programs.join("switchyard-api");
        ensure!(api.exists(), "{} is missing: build it first (cargo build -p switchyard-api)", api.display());

        // Durable, so that its death is an honest one; the time of each commit puts changes in order.
        let (postgres, rabbit, redis) =
            tokio::join!(Postgres::own(&["track_commit_timestamp=on"]), Rabbit::own(), Redis::own());
        let database_uri = postgres.bare_database().await.uri;
        let (broker_uri, cache_uri) = (rabbit.vhost(), redis.database());
        let port = |uri: &str| behind(uri, 0).map(|(port, _)| port);
        let database = Server::new(postgres, port(&database_uri)?).await?;
        let broker = Server::new(rabbit, port(&broker_uri)?).await?;
        let cache = Server::new(redis, port(&cache_uri)?).await?;

        let folder = tempfile::Builder::new().prefix("switchyard-chaos-").tempdir()?;
        let addresses = Addresses {
            database: behind(&database_uri, database.wire.port)?.1,
            database_admin: database_uri.clone(),
            broker: behind(&broker_uri, broker.wire.port)?.1,
            cache: behind(&cache_uri, cache.wire.port)?.1,
        };
        mounts::write(folder.path(), &addresses)?;
        let ground = Self { database, broker, cache, broker_uri, database_uri, folder, programs };
        ground.set_up().await?;
        let client = ground.client().await?;
        client.batch_execute(checks::AUDIT).await.context("the harness' tables")?;
        put_limits(&client, &mounts::tiers(), &mounts::lanes()).await?;
        Ok(ground)
    }

    async fn set_up(&self) -> anyhow::Result<()> {
        let mount = mounts::folder(self.folder.path(), "setup");
        let log = self.log("setup");
        let environment = [("SWITCHYARD_DIR", mount.display().to_string())];
        let mut program =
            Program::start(&self.programs.join("switchyard-api"), &["setup".to_owned()], &environment, &log)?;
        let done = program.wait(SET_UP).await.is_some_and(|status| status.success());
        ensure!(done, "the setup failed: {}", std::fs::read_to_string(log).unwrap_or_default());
        Ok(())
    }

    /// The file that a process' output goes to.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// A connection as the database's owner, past the wire.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.database_uri, NoTls).await?;
        tokio::spawn(async move {
            // Its end shows at the next call.
            let _ = connection.await;
        });
        Ok(client)
    }

    /// Messages in each queue, past the wire.
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

    /// Ends the servers and removes their folders.
    pub fn end(self) {
        self.database.server.end();
        self.broker.server.end();
        self.cache.server.end();
    }
}

/// Tells the checks what is allowed.
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
