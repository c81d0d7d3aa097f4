use std::{sync::Arc, time::Duration};

use lapin::{
    Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{ConfirmSelectOptions, ExchangeDeclareOptions},
    runtime::default_runtime,
    tcp::OwnedTLSConfig,
    types::FieldTable,
};
use rand::Rng as _;
use secrecy::SecretString;
use switchyard_contract::Mount;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    BrokerError, JOBS_EXCHANGE,
    address::{BrokerAddress, BrokerAddressError},
    topology,
};

/// Longest wait for an answer before a connection counts as dead.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// How long a new connection, with all declarations, may take.
const CONNECT: Duration = Duration::from_secs(15);
/// How often a quiet connection is asked whether it is still there.
const PROBE: Duration = Duration::from_secs(10);
/// Longest wait between two attempts to connect.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// A connection as long as it lasts.
#[derive(Clone)]
pub(super) struct Link {
    pub connection: Arc<Connection>,
    /// With publisher confirms.
    pub tickets: Channel,
    pub events: Channel,
    pub probe: Channel,
    /// Fires when this connection is given up.
    pub lost: CancellationToken,
}

/// A supervised connection. Cheap to clone; the last clone's end closes it.
#[derive(Clone)]
pub struct Broker {
    link: watch::Receiver<Option<Link>>,
    stop: CancellationToken,
    ended: watch::Receiver<bool>,
    _guard: Arc<DropGuard>,
}

impl Broker {
    /// Begins to connect, and goes on for as long as the broker lives. Needs a running tokio runtime. `name` is what the broker's management shows.
    pub fn connect(uri: &SecretString, name: &str) -> Result<Self, BrokerAddressError> {
        Ok(Self::at(BrokerAddress::parse(uri)?, name))
    }

    /// As [`Broker::connect`], to the broker whose address is mounted, trusting the roots that are.
    pub fn mounted(mount: &Mount, name: &str) -> Result<Self, BrokerAddressError> {
        Ok(Self::at(BrokerAddress::mounted(mount)?, name))
    }

    fn at(address: BrokerAddress, name: &str) -> Self {
        let (sender, link) = watch::channel(None);
        let (ended_sender, ended) = watch::channel(false);
        let stop = CancellationToken::new();
        let name = name.to_owned();
        tokio::spawn({
            let stop = stop.clone();
            async move {
                supervise(&address, &name, &sender, &stop).await;
                sender.send_replace(None);
                ended_sender.send_replace(true);
            }
        });
        Self { link, _guard: Arc::new(stop.clone().drop_guard()), stop, ended }
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// Waits for a connection; for ever, after [`Broker::close`].
    pub async fn connected(&self) {
        let mut link = self.link.clone();
        if link.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Closes the connection in good order. No clone connects again.
    pub async fn close(&self) {
        self.stop.cancel();
        let mut ended = self.ended.clone();
        // An error means that the supervisor is gone already.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub(super) fn link(&self) -> Result<Link, BrokerError> {
        self.link.borrow().clone().ok_or(BrokerError::Away)
    }
}

/// Connects once and closes again; for the setup, which wants to know why not.
pub(crate) async fn try_once(address: &BrokerAddress) -> Result<(), BrokerError> {
    let link = open(address, "switchyard-setup").await?;
    let _ = timeout(ANSWER, link.connection.close(200, "done".into())).await;
    Ok(())
}

async fn supervise(
    address: &BrokerAddress,
    name: &str,
    sender: &watch::Sender<Option<Link>>,
    stop: &CancellationToken,
) {
    let mut backoff = Duration::from_millis(100);
    loop {
        let opened = tokio::select! {
            opened = open(address, name) => opened,
            () = stop.cancelled() => return,
        };
        match opened {
            Ok(link) => {
                backoff = Duration::from_millis(100);
                tracing::info!("connected to the broker");
                sender.send_replace(Some(link.clone()));
                tokio::select! {
                    reason = failure(&link) => tracing::warn!(%reason, "the connection to the broker is lost"),
                    () = stop.cancelled() => {}
                }
                sender.send_replace(None);
                link.lost.cancel();
                let _ = timeout(ANSWER, link.connection.close(200, "closing".into())).await;
            }
            Err(error) => tracing::warn!(%error, "cannot connect to the broker"),
        }
        let wait = backoff.mul_f64(rand::rng().random_range(0.5..1.0));
        backoff = (backoff * 2).min(MAX_BACKOFF);
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn open(address: &BrokerAddress, name: &str) -> Result<Link, BrokerError> {
    let opening = async {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let tls = OwnedTLSConfig { identity: None, cert_chain: address.roots.clone() };
        let connection =
            Connection::connect_uri_with_config(address.uri.clone(), properties, tls, default_runtime()?).await?;
        let tickets = connection.create_channel().await?;
        topology::declare(&tickets).await?;
        tickets.confirm_select(ConfirmSelectOptions::default()).await?;
        let events = connection.create_channel().await?;
        let probe = connection.create_channel().await?;
        Ok(Link { connection: Arc::new(connection), tickets, events, probe, lost: CancellationToken::new() })
    };
    timeout(CONNECT, opening).await.unwrap_or(Err(BrokerError::Silent(CONNECT.as_secs())))
}

/// Ends when the connection is of no more use, with the reason. A closed channel counts: whatever closed it, a fresh connection mends it.
async fn failure(link: &Link) -> String {
    use futures::StreamExt as _;
    let mut events = Box::pin(link.connection.events_listener());
    let mut probe = tokio::time::interval(PROBE);
    probe.tick().await;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(lapin::Event::Error(error)) => return error.to_string(),
                Some(_) => {}
                None => return "closed".to_owned(),
            },
            () = link.lost.cancelled() => return "given up by a user of it".to_owned(),
            _ = probe.tick() => {
                if [&link.tickets, &link.events, &link.probe].iter().any(|channel| !channel.status().connected()) {
                    return "a channel was closed".to_owned();
                }
                let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let asked = link.probe.exchange_declare(JOBS_EXCHANGE.into(), ExchangeKind::Direct, passive, FieldTable::default());
                match timeout(ANSWER, asked).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_) => return format!("no answer within {} s", ANSWER.as_secs()),
                }
            }
        }
    }
}
