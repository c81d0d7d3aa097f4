//! Leader election with a `coordination.k8s.io/v1` Lease. Only the leader writes.
//!
//! The semantics are those of client-go's `leaderelection`, with its default times. The leader
//! renews every [`RENEW_INTERVAL`] and stops leading after [`RENEW_DEADLINE`] without a renewal.
//! Another candidate takes over after [`LEASE_DURATION`] without a change of the Lease. It measures
//! that from its own observation of the Lease, on its own monotonic clock, so wall clocks may
//! differ. A write of the Lease is a compare-and-set on its resourceVersion, so only one candidate
//! wins.
//!
//! client-go leaves open that a former leader may still write: it gives no fencing. Here the
//! [`Fence`] stops writes of tasks that have not ended yet, and of a process that was suspended.

use std::{pin::pin, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    kubernetes::write_fence::{Fence, LEASE_DURATION, Moment, RENEW_DEADLINE},
    telemetry::{heartbeat::Heartbeat, metrics::Metrics},
};

/// How often the leader renews the Lease and a candidate reads it. `RetryPeriod` in client-go.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// Longest wait for writes in flight at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// A candidate for leadership.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    fence: Fence,
    /// The resourceVersion that was last observed, and when it was first observed.
    observed: Option<(Option<String>, Instant)>,
}

impl Candidate {
    /// A candidate `identity` for the Lease `namespace`/`name`. It opens `fence` while it leads, so
    /// `client` must not pass through that fence.
    ///
    /// The identity must be unique to the process. A restarted process must not take over the Lease
    /// of its predecessor, whose writes may still be in flight.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, fence: Fence) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            fence,
            observed: None,
        }
    }

    /// Runs `work` while this candidate leads, until `shutdown`. Drops `work` when the lease may
    /// have expired.
    pub async fn lead<F, Fut>(mut self, metrics: &Metrics, heartbeat: &Heartbeat, shutdown: &CancellationToken, work: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ()>,
    {
        loop {
            let Some(since) = self.acquire(heartbeat, shutdown).await else { return };
            tracing::info!(identity = self.identity, "became leader");
            metrics.set_leader(true);
            let released = {
                let (fence, mut work) = (self.fence.clone(), pin!(work()));
                tokio::select! {
                    () = &mut work => true,
                    () = self.renew(since, heartbeat) => false,
                    () = shutdown.cancelled() => {
                        fence.close();
                        let _ = tokio::time::timeout(DRAIN_TIMEOUT, async {
                            tokio::select! { () = work => {}, () = fence.drained() => {} }
                        })
                        .await;
                        true
                    }
                }
            };
            self.fence.close();
            metrics.set_leader(false);
            // The next leader starts at once, so no write of this one may take effect later.
            // Otherwise the lease has to expire.
            if released && self.fence.is_clear() {
                self.release().await;
            }
            if shutdown.is_cancelled() {
                return;
            }
            tracing::warn!(identity = self.identity, "lost leadership");
        }
    }

    /// Waits until this candidate holds the lease. Returns the time of the request; `None` at
    /// shutdown.
    async fn acquire(&mut self, heartbeat: &Heartbeat, shutdown: &CancellationToken) -> Option<Moment> {
        loop {
            heartbeat.beat();
            let requested = Moment::now();
            match tokio::time::timeout(RENEW_DEADLINE, self.attempt()).await {
                Ok(Ok(true)) if requested.elapsed() < RENEW_DEADLINE => {
                    self.fence.renewed(requested);
                    return Some(requested);
                }
                Ok(Ok(true)) => tracing::warn!("could not acquire lease in time"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "could not acquire lease"),
                Err(_) => tracing::warn!(error = "no response from the API server", "could not acquire lease"),
            }
            tokio::select! {
                () = tokio::time::sleep(RENEW_INTERVAL) => {}
                () = shutdown.cancelled() => return None,
            }
        }
    }

    /// Renews the lease until that has failed for [`RENEW_DEADLINE`] or another candidate holds it.
    async fn renew(&mut self, mut renewed: Moment, heartbeat: &Heartbeat) {
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            heartbeat.beat();
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let requested = Moment::now();
            match tokio::time::timeout(left, self.attempt()).await {
                Ok(Ok(true)) => {
                    renewed = requested;
                    self.fence.renewed(requested);
                }
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "could not renew lease"),
                Err(_) => return,
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                return;
            }
        }
    }

    /// Acquires or renews the lease, if it is free, expired or held by this candidate. Returns
    /// whether this candidate holds it now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(held_by(&LeaseSpec::default(), &self.identity, Timestamp::now())),
            };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone();
        if self.observed.as_ref().is_none_or(|(known, _)| *known != version) {
            self.observed = Some((version, Instant::now()));
        }
        let unchanged = self.observed.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let spec = lease.spec.clone().unwrap_or_default();
        if !may_acquire(&spec, &self.identity, unchanged) {
            return Ok(false);
        }
        // The resourceVersion makes this a compare-and-set.
        let next = Lease { spec: Some(held_by(&spec, &self.identity, Timestamp::now())), ..lease };
        won(self.api.replace(&self.name, &PostParams::default(), &next).await)
    }

    /// Releases the lease, so that the next leader need not wait until it expires.
    async fn release(&self) {
        let Ok(Ok(Some(lease))) = tokio::time::timeout(RENEW_INTERVAL, self.api.get_opt(&self.name)).await else {
            return;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return;
        }
        let next = Lease { spec: Some(LeaseSpec { holder_identity: None, ..spec }), ..lease };
        if let Ok(Err(error)) =
            tokio::time::timeout(RENEW_INTERVAL, self.api.replace(&self.name, &PostParams::default(), &next)).await
        {
            tracing::warn!(%error, "could not release lease");
        }
    }
}

/// Whether the write of the Lease won. A conflict means that another candidate was faster.
fn won(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `identity` may take a Lease that has not changed for `unchanged`.
fn may_acquire(spec: &LeaseSpec, identity: &str, unchanged: Duration) -> bool {
    match spec.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) => holder == identity || unchanged > LEASE_DURATION,
    }
}

/// The spec of the Lease, held by `identity`.
fn held_by(spec: &LeaseSpec, identity: &str, now: Timestamp) -> LeaseSpec {
    let same = spec.holder_identity.as_deref() == Some(identity);
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(LEASE_DURATION.as_secs().try_into().unwrap_or(i32::MAX)),
        acquire_time: if same { spec.acquire_time.clone() } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(spec.lease_transitions.unwrap_or(0) + i32::from(!same)),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>) -> LeaseSpec {
        LeaseSpec { holder_identity: holder.map(str::to_owned), ..LeaseSpec::default() }
    }

    #[test]
    fn lease_is_acquired_when_free_own_or_expired() {
        assert!(may_acquire(&lease(None), "a", Duration::ZERO));
        assert!(may_acquire(&lease(Some("")), "a", Duration::ZERO));
        assert!(may_acquire(&lease(Some("a")), "a", Duration::ZERO));
        assert!(!may_acquire(&lease(Some("b")), "a", LEASE_DURATION));
        assert!(may_acquire(&lease(Some("b")), "a", LEASE_DURATION + Duration::from_millis(1)));
    }

    #[test]
    fn leader_stops_before_another_may_start() {
        // The leader measures from before its request, a candidate from after it observed the
        // effect.
        assert!(RENEW_DEADLINE + RENEW_INTERVAL < LEASE_DURATION);
    }

    #[test]
    fn renewal_is_no_transition() {
        let now = Timestamp::from_second(100).expect("in range");
        let first = held_by(&lease(Some("b")), "a", now);
        assert_eq!((first.lease_transitions, first.acquire_time.clone()), (Some(1), Some(MicroTime(now))));
        let again = held_by(&first, "a", Timestamp::from_second(102).expect("in range"));
        assert_eq!((again.lease_transitions, again.acquire_time), (Some(1), Some(MicroTime(now))));
    }
}
