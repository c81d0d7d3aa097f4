//! The address of the broker.

use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};
use switchyard_contract::{
    Mount,
    files::{BROKER_CA, BROKER_URI, FileError},
};

const HEARTBEAT_SECONDS: u16 = 10;

/// Why the broker's address cannot be used. Does not contain the address, which holds a password.
#[derive(Debug, thiserror::Error)]
pub enum BrokerAddressError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the broker Secret's 'uri' is not an AMQP address: {0}; write amqp://user:password@host:5672/vhost")]
    Invalid(String),
}

/// Host, login and trusted roots of the broker.
#[derive(Clone)]
pub(crate) struct BrokerAddress {
    pub(super) uri: AMQPUri,
    /// Roots (PEM) in addition to the web PKI's; for `amqps` only.
    pub(super) roots: Option<String>,
}

impl BrokerAddress {
    /// The address in `broker/uri`, with the roots in `broker/ca.crt` if mounted.
    pub(crate) fn mounted(mount: &Mount) -> Result<Self, BrokerAddressError> {
        let roots = mount.optional_secret(BROKER_CA)?.map(|roots| roots.expose_secret().to_owned());
        Ok(Self { roots, ..Self::parse(&mount.secret(BROKER_URI)?)? })
    }

    /// An address without roots of its own.
    pub(super) fn parse(uri: &SecretString) -> Result<Self, BrokerAddressError> {
        let mut uri: AMQPUri = uri.expose_secret().parse().map_err(BrokerAddressError::Invalid)?;
        if uri.vhost.is_empty() {
            // By the letter 'amqp://host/' names the virtual host ''. Users mean '/'.
            "/".clone_into(&mut uri.vhost);
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self { uri, roots: None })
    }

    /// `host:port`, for messages.
    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }
}
