//! What the controllers share.

use std::{sync::Arc, time::Duration};

use kube::{
    Resource,
    runtime::{
        controller::Action,
        events::{Event, Recorder, Reporter},
    },
};

use crate::{
    cluster::{Cluster, Error},
    health::Healths,
    images::Images,
    metrics::Metrics,
    queues::Queues,
};

/// Objects that a controller works on at once: most of the time it waits for the API server.
pub const CONCURRENCY: u16 = 12;

/// What changes within this time is looked at once.
pub const DEBOUNCE: Duration = Duration::from_millis(100);

/// What the controllers share.
#[derive(Clone)]
pub struct Context {
    pub cluster: Cluster,
    pub images: Arc<Images>,
    pub metrics: Metrics,
    pub queues: Queues,
    pub healths: Healths,
    recorder: Recorder,
}

impl Context {
    /// A context of the operator's instance `identity`.
    pub fn new(
        cluster: Cluster,
        images: Images,
        metrics: Metrics,
        queues: Queues,
        healths: Healths,
        identity: &str,
    ) -> Self {
        let reporter = Reporter { controller: "switchyard-operator".into(), instance: Some(identity.to_owned()) };
        let recorder = Recorder::new(cluster.client.clone(), reporter);
        Self { recorder, cluster, images: Arc::new(images), metrics, queues, healths }
    }

    /// Publishes Events about `object`. An Event that does not get through is logged and no more: the conditions say the same.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, events: &[Event]) {
        let reference = object.object_ref(&());
        for event in events {
            if let Err(error) = self.recorder.publish(event, &reference).await {
                tracing::warn!(%error, reason = event.reason, "an Event was not published");
            }
        }
    }

    /// What to do after an error: try again, later and later.
    pub fn after_error(&self, kind: &str, name: &str, error: &Error, failures: u32) -> Action {
        self.metrics.error(kind, error.category());
        let delay = backoff(failures);
        tracing::warn!(kind, name, %error, again_in_seconds = delay.as_secs(), "reconciling failed");
        Action::requeue(delay)
    }
}

/// When to look again at what is on its way: after `first`, and later and later while nothing changes, up to a minute. Whatever changes in an object of
/// the operator's is noticed at once; pods tell their troubles to nobody's watch.
pub fn patience(first: Duration, looks: u32) -> Duration {
    (first * (1 << looks.min(6))).min(Duration::from_secs(60))
}

/// 1 s, doubled with each failure in a row, up to 2 minutes.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(7)).min(Duration::from_secs(120))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_tried_again_later_and_later() {
        let seconds: Vec<u64> = (0..9).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        let seconds: Vec<u64> = (0..6).map(|n| patience(Duration::from_secs(5), n).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
    }
}
