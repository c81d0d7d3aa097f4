//! The broker: declares exchanges and queues.

use lapin::{ErrorKind, protocol::AMQPErrorKind};
use switchyard_contract::Mount;

use super::{
    error::{Component, SetupError},
    reach::{Attempt, reach},
};
use crate::broker::{BrokerAddress, BrokerError, check_connection};

/// Connects once, which declares queues and exchanges.
pub(super) async fn prepare(mount: &Mount) -> Result<(), SetupError> {
    let failed = |message: String| SetupError::new(Component::Broker, message);
    let address = BrokerAddress::mounted(mount).map_err(|error| failed(error.to_string()))?;
    let host = address.host();
    reach(Component::Broker, || async {
        match check_connection(&address).await {
            Ok(()) => Attempt::Reached(()),
            Err(error) => diagnose(&host, &error),
        }
    })
    .await
}

fn diagnose(host: &str, error: &BrokerError) -> Attempt<()> {
    let BrokerError::Refused(refusal) = error else {
        return Attempt::Retry(format!("RabbitMQ at {host} cannot be reached: {error}"));
    };
    match refusal.kind() {
        ErrorKind::ProtocolError(protocol) => {
            let text = protocol.get_message();
            match protocol.kind() {
                AMQPErrorKind::Soft(lapin::protocol::AMQPSoftError::ACCESSREFUSED) => Attempt::Fatal(format!(
                    "RabbitMQ at {host} refused the login or a right (wrong user or password?): correct the broker Secret; it said: {text}"
                )),
                AMQPErrorKind::Hard(lapin::protocol::AMQPHardError::NOTALLOWED) => Attempt::Fatal(format!(
                    "RabbitMQ at {host} does not let this user into the virtual host: create it, or correct the broker Secret; it said: {text}"
                )),
                AMQPErrorKind::Soft(lapin::protocol::AMQPSoftError::PRECONDITIONFAILED) => Attempt::Fatal(format!(
                    "RabbitMQ at {host} has a queue of the same name with other properties: give Switchyard a virtual host of its own; it said: {text}"
                )),
                _ => Attempt::Retry(format!("RabbitMQ at {host} refused: {text}")),
            }
        }
        ErrorKind::IOError(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Attempt::Retry(format!(
            "nothing listens at {host} (connection refused): is RabbitMQ running, and is the port right?"
        )),
        ErrorKind::IOError(error) if error.to_string().contains("lookup address") => Attempt::Retry(format!(
            "the host of {host} is unknown (no such name): correct the address in the broker Secret"
        )),
        ErrorKind::IOError(error) if error.to_string().contains("certificate") => Attempt::Fatal(format!(
            "no encrypted connection to RabbitMQ at {host}: {error}; correct the address or the certificates in 'ca.crt' in the broker Secret"
        )),
        _ => Attempt::Retry(format!("RabbitMQ at {host} cannot be reached: {refusal}")),
    }
}
