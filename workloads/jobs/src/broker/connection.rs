//! The supervised connection to RabbitMQ.

use std::{sync::Arc, time::Duration};

use lapin::{
    Channel, ConnectionProperties, ExchangeKind,
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
    address::{BrokerAddress, BrokerAddressError},
    error::BrokerError,
    topology::{self, JOBS_EXCHANGE},
};

/// Limit for one answer; past it the connection counts as dead.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit for connecting and declaring the topology.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval between two probes of a connection.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Longest wait between two attempts to connect.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// One connection with its channels, until it is lost.
#[derive(Clone)]
pub(super) struct Connection {
    pub amqp: Arc<lapin::Connection>,
    /// With publisher confirms.
    pub tickets: Channel,
    pub events: Channel,
    pub probe: Channel,
    /// Cancelled when this connection is abandoned.
    pub lost: CancellationToken,
}

/// A supervised connection. Cheap to clone; dropping the last clone closes it.
#[derive(Clone)]
pub struct Broker {
    connection: watch::Receiver<Option<Connection>>,
    stop: CancellationToken,
    ended: watch::Receiver<bool>,
    _guard: Arc<DropGuard>,
}

impl Broker {
    /// Connects in the background, and reconnects until the last clone is dropped.
    ///
    /// `name` is the connection name in the management UI. Needs a running tokio runtime.
    ///
    /// # Errors
    /// [`BrokerAddressError::Invalid`] if `uri` is not an AMQP address.
    pub fn connect(uri: &SecretString, name: &str) -> Result<Self, BrokerAddressError> {
        Ok(Self::start(BrokerAddress::parse(uri)?, name))
    }

    /// As [`Broker::connect`], to the address and with the roots in the mounted Secret.
    ///
    /// # Errors
    /// [`BrokerAddressError`] if a file cannot be read or the address is invalid.
    pub fn mounted(mount: &Mount, name: &str) -> Result<Self, BrokerAddressError> {
        Ok(Self::start(BrokerAddress::mounted(mount)?, name))
    }

    fn start(address: BrokerAddress, name: &str) -> Self {
        let (sender, connection) = watch::channel(None);
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
        Self { connection, _guard: Arc::new(stop.clone().drop_guard()), stop, ended }
    }

    /// Whether the broker is connected now.
    pub fn is_connected(&self) -> bool {
        self.connection.borrow().is_some()
    }

    /// Waits until the broker is connected. Never returns after [`Broker::close`].
    pub async fn connected(&self) {
        let mut connection = self.connection.clone();
        if connection.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Closes the connection gracefully. No clone reconnects.
    pub async fn close(&self) {
        self.stop.cancel();
        let mut ended = self.ended.clone();
        // An error means that the supervisor has ended already.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub(super) fn current(&self) -> Result<Connection, BrokerError> {
        self.connection.borrow().clone().ok_or(BrokerError::Disconnected)
    }
}

/// Connects once, which declares the topology, and disconnects.
///
/// # Errors
/// Why the broker could not be reached or the topology not declared.
pub(crate) async fn check_connection(address: &BrokerAddress) -> Result<(), BrokerError> {
    let connection = open(address, "switchyard-setup").await?;
    let _ = timeout(RESPONSE_TIMEOUT, connection.amqp.close(200, "done".into())).await;
    Ok(())
}

async fn supervise(
    address: &BrokerAddress,
    name: &str,
    sender: &watch::Sender<Option<Connection>>,
    stop: &CancellationToken,
) {
    let mut backoff = Duration::from_millis(100);
    loop {
        let opened = tokio::select! {
            opened = open(address, name) => opened,
            () = stop.cancelled() => return,
        };
        match opened {
            Ok(connection) => {
                backoff = Duration::from_millis(100);
                tracing::info!("connected to the broker");
                sender.send_replace(Some(connection.clone()));
                tokio::select! {
                    reason = failure(&connection) => tracing::warn!(%reason, "lost connection to the broker"),
                    () = stop.cancelled() => {}
                }
                sender.send_replace(None);
                connection.lost.cancel();
                let _ = timeout(RESPONSE_TIMEOUT, connection.amqp.close(200, "closing".into())).await;
            }
            Err(error) => tracing::warn!(%error, "could not connect to the broker"),
        }
        let wait = backoff.mul_f64(rand::rng().random_range(0.5..1.0));
        backoff = (backoff * 2).min(MAX_BACKOFF);
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn open(address: &BrokerAddress, name: &str) -> Result<Connection, BrokerError> {
    let opening = async {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let tls = OwnedTLSConfig { identity: None, cert_chain: address.roots.clone() };
        let amqp = lapin::Connection::connect_uri_with_config(address.uri.clone(), properties, tls, default_runtime()?)
            .await?;
        let tickets = amqp.create_channel().await?;
        topology::declare(&tickets).await?;
        tickets.confirm_select(ConfirmSelectOptions::default()).await?;
        let events = amqp.create_channel().await?;
        let probe = amqp.create_channel().await?;
        Ok(Connection { amqp: Arc::new(amqp), tickets, events, probe, lost: CancellationToken::new() })
    };
    timeout(CONNECT_TIMEOUT, opening).await.unwrap_or(Err(BrokerError::Timeout(CONNECT_TIMEOUT.as_secs())))
}

/// Waits until the connection fails, and returns the reason. A closed channel counts as a failure:
/// a new connection repairs it, whatever closed it.
async fn failure(connection: &Connection) -> String {
    use futures::StreamExt as _;
    let mut events = Box::pin(connection.amqp.events_listener());
    let mut probe = tokio::time::interval(PROBE_INTERVAL);
    probe.tick().await;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(lapin::Event::Error(error)) => return error.to_string(),
                Some(_) => {}
                None => return "closed".to_owned(),
            },
            () = connection.lost.cancelled() => return "abandoned by a caller".to_owned(),
            _ = probe.tick() => {
                if [&connection.tickets, &connection.events, &connection.probe].iter().any(|channel| !channel.status().connected()) {
                    return "a channel was closed".to_owned();
                }
                let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let asked = connection.probe.exchange_declare(JOBS_EXCHANGE.into(), ExchangeKind::Direct, passive, FieldTable::default());
                match timeout(RESPONSE_TIMEOUT, asked).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_) => return format!("no answer within {} s", RESPONSE_TIMEOUT.as_secs()),
                }
            }
        }
    }
}
