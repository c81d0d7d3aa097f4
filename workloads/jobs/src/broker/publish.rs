use futures::future::join_all;
use lapin::{BasicProperties, Confirmation, options::BasicPublishOptions};
use tokio::time::timeout;

use super::{Broker, BrokerError, EVENTS_EXCHANGE, JOBS_EXCHANGE, link::ANSWER};
use crate::model::{Event, JobId, Pointer};

/// What became of published pointers.
#[derive(Debug, Default)]
pub struct Published {
    /// The broker has them safe in a queue.
    pub out: Vec<JobId>,
    /// It has them not, or nobody knows.
    pub failed: Vec<JobId>,
    /// Why the last of the failed ones failed.
    pub error: Option<String>,
}

impl Broker {
    /// Publishes pointers and waits until the broker has taken them on. A pointer that no queue took is a failure, although the broker confirms it.
    pub async fn publish(&self, pointers: &[Pointer]) -> Published {
        let mut published = Published::default();
        let link = match self.link() {
            Ok(link) => link,
            Err(error) => {
                published.failed = pointers.iter().map(|p| p.job).collect();
                published.error = Some(error.to_string());
                return published;
            }
        };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        let sends = pointers.iter().map(|pointer| {
            let (channel, properties) = (&link.pointers, properties.clone());
            async move {
                let body = serde_json::json!({ "job": pointer.job }).to_string();
                let queue = pointer.queue.to_string();
                let confirm = channel
                    .basic_publish(JOBS_EXCHANGE.into(), queue.as_str().into(), options, body.as_bytes(), properties)
                    .await?;
                match confirm.await? {
                    Confirmation::Ack(None) => Ok(()),
                    Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                        Err(format!("{queue} took nothing: {}", returned.reply_text))
                    }
                    Confirmation::Nack(None) => Err(format!("{queue} refused the message")),
                    Confirmation::NotRequested => Err("the broker does not confirm".to_owned()),
                }
                .map_err(PublishError::Refused)
            }
        });
        // Each has its own deadline, so that one lost confirm does not hide the others.
        let results = join_all(sends.map(|send| timeout(ANSWER, send))).await;
        let mut silent = false;
        for (pointer, result) in pointers.iter().zip(results) {
            match result {
                Ok(Ok(())) => published.out.push(pointer.job),
                Ok(Err(error)) => {
                    published.failed.push(pointer.job);
                    published.error = Some(error.to_string());
                }
                Err(_) => {
                    silent = true;
                    published.failed.push(pointer.job);
                    published.error = Some(BrokerError::Silent(ANSWER.as_secs()).to_string());
                }
            }
        }
        if silent {
            link.lost.cancel();
        }
        published
    }

    /// Publishes events without waiting for more than the socket: the store has them, and watchers look there when one is missing.
    pub async fn publish_events(&self, events: &[Event]) -> Result<(), BrokerError> {
        let link = self.link()?;
        for event in events {
            let Ok(body) = serde_json::to_vec(event) else { continue };
            let key = event.job.to_string();
            let sent = link.events.basic_publish(
                EVENTS_EXCHANGE.into(),
                key.as_str().into(),
                BasicPublishOptions::default(),
                &body,
                BasicProperties::default(),
            );
            match timeout(ANSWER, sent).await {
                Ok(sent) => drop(sent?),
                Err(_) => {
                    link.lost.cancel();
                    return Err(BrokerError::Silent(ANSWER.as_secs()));
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Broker(#[from] lapin::Error),
}
