//! Leader election by a Lease: the holder alone writes.
//!
//! The holder renews every [`RENEW`]; when it could not for [`GIVE_UP`] it stops, well before [`EXPIRE`] lets another take over. A candidate
//! counts the time since it last saw the Lease change on its own clock, so clocks need not agree. The [`Fence`] holds back what the work would write
//! all the same: tasks end a moment after they are told to, and a process may stand still.

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
    kubernetes::write_fence::{EXPIRE, Fence, GIVE_UP, Moment},
    telemetry::{heartbeat::Heartbeat, metrics::Metrics},
};

/// How often the holder renews and a candidate looks.
const RENEW: Duration = Duration::from_secs(2);
/// Writes that are on their way at shutdown are waited for this long.
const DRAIN: Duration = Duration::from_secs(3);

/// A candidate for the lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    fence: Fence,
    /// The Lease as it was last seen to change, by our clock.
    seen: Option<(Option<String>, Instant)>,
}

impl Candidate {
    /// A candidate called `identity` for the Lease `namespace`/`name`, which opens the `fence` for the work. `client` is not behind that fence.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, fence: Fence) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            fence,
            seen: None,
        }
    }

    /// Runs `work` whenever this candidate holds the lease, until `shutdown`. `work` is dropped when the lease can no longer be vouched for.
    pub async fn lead<F, Fut>(mut self, metrics: &Metrics, heartbeat: &Heartbeat, shutdown: &CancellationToken, work: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ()>,
    {
        loop {
            let Some(since) = self.wait_for_turn(heartbeat, shutdown).await else { return };
            tracing::info!(identity = self.identity, "holds the lease");
            metrics.leads(true);
            let released = {
                let (fence, mut work) = (self.fence.clone(), pin!(work()));
                tokio::select! {
                    () = &mut work => true,
                    () = self.keep(since, heartbeat) => false,
                    () = shutdown.cancelled() => {
                        fence.close();
                        let _ = tokio::time::timeout(DRAIN, async {
                            tokio::select! { () = work => {}, () = fence.drained() => {} }
                        })
                        .await;
                        true
                    }
                }
            };
            self.fence.close();
            metrics.leads(false);
            // Whoever is next begins at once, so nothing of ours may come after it; else the lease has to expire.
            if released && self.fence.is_clear() {
                self.release().await;
            }
            if shutdown.is_cancelled() {
                return;
            }
            tracing::warn!(identity = self.identity, "holds the lease no longer");
        }
    }

    /// Waits until the lease is held, and answers with the time from which on it was; `None` at shutdown.
    async fn wait_for_turn(&mut self, heartbeat: &Heartbeat, shutdown: &CancellationToken) -> Option<Moment> {
        loop {
            heartbeat.beat();
            let asked = Moment::now();
            match tokio::time::timeout(GIVE_UP, self.attempt()).await {
                Ok(Ok(true)) if asked.elapsed() < GIVE_UP => {
                    self.fence.renewed(asked);
                    return Some(asked);
                }
                Ok(Ok(true)) => tracing::warn!("the lease was taken too slowly to be used"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "cannot read or write the lease"),
                Err(_) => tracing::warn!("no answer about the lease"),
            }
            tokio::select! {
                () = tokio::time::sleep(RENEW) => {}
                () = shutdown.cancelled() => return None,
            }
        }
    }

    /// Renews until that has failed for too long.
    async fn keep(&mut self, mut renewed: Moment, heartbeat: &Heartbeat) {
        loop {
            tokio::time::sleep(RENEW).await;
            heartbeat.beat();
            let left = GIVE_UP.saturating_sub(renewed.elapsed());
            let asked = Moment::now();
            match tokio::time::timeout(left, self.attempt()).await {
                Ok(Ok(true)) => {
                    renewed = asked;
                    self.fence.renewed(asked);
                }
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the lease"),
                Err(_) => return,
            }
            if renewed.elapsed() >= GIVE_UP {
                return;
            }
        }
    }

    /// Takes or renews the lease if that is allowed. A conflict means that another was faster.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(taken(&LeaseSpec::default(), &self.identity, Timestamp::now())),
            };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone();
        if self.seen.as_ref().is_none_or(|(known, _)| *known != version) {
            self.seen = Some((version, Instant::now()));
        }
        let quiet = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let spec = lease.spec.clone().unwrap_or_default();
        if !may_take(&spec, &self.identity, quiet) {
            return Ok(false);
        }
        // The resourceVersion makes this a compare-and-set.
        let next = Lease { spec: Some(taken(&spec, &self.identity, Timestamp::now())), ..lease };
        won(self.api.replace(&self.name, &PostParams::default(), &next).await)
    }

    /// Gives the lease up, so that the next need not wait for it to expire.
    async fn release(&self) {
        let Ok(Ok(Some(lease))) = tokio::time::timeout(RENEW, self.api.get_opt(&self.name)).await else { return };
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return;
        }
        let next = Lease { spec: Some(LeaseSpec { holder_identity: None, ..spec }), ..lease };
        if let Ok(Err(error)) =
            tokio::time::timeout(RENEW, self.api.replace(&self.name, &PostParams::default(), &next)).await
        {
            tracing::warn!(%error, "the lease was not given up; it expires");
        }
    }
}

fn won(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `identity` may write itself into a Lease that has not changed for `quiet`.
fn may_take(spec: &LeaseSpec, identity: &str, quiet: Duration) -> bool {
    match spec.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) => holder == identity || quiet > EXPIRE,
    }
}

/// The Lease's spec in the hands of `identity`.
fn taken(spec: &LeaseSpec, identity: &str, now: Timestamp) -> LeaseSpec {
    let same = spec.holder_identity.as_deref() == Some(identity);
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(EXPIRE.as_secs().try_into().unwrap_or(i32::MAX)),
        acquire_time: if same { spec.acquire_time.clone() } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(spec.lease_transitions.unwrap_or(0) + i32::from(!same)),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(by: Option<&str>) -> LeaseSpec {
        LeaseSpec { holder_identity: by.map(str::to_owned), ..LeaseSpec::default() }
    }

    #[test]
    fn a_lease_is_taken_when_free_ours_or_expired() {
        assert!(may_take(&held(None), "a", Duration::ZERO));
        assert!(may_take(&held(Some("")), "a", Duration::ZERO));
        assert!(may_take(&held(Some("a")), "a", Duration::ZERO));
        assert!(!may_take(&held(Some("b")), "a", EXPIRE));
        assert!(may_take(&held(Some("b")), "a", EXPIRE + Duration::from_millis(1)));
    }

    #[test]
    fn the_holder_stops_before_another_may_start() {
        // The holder counts from before its request, a candidate from after it saw the answer's effect: nothing else is needed.
        assert!(GIVE_UP + RENEW < EXPIRE);
    }

    #[test]
    fn a_renewal_is_no_transition() {
        let now = Timestamp::from_second(100).expect("in range");
        let first = taken(&held(Some("b")), "a", now);
        assert_eq!((first.lease_transitions, first.acquire_time.clone()), (Some(1), Some(MicroTime(now))));
        let again = taken(&first, "a", Timestamp::from_second(102).expect("in range"));
        assert_eq!((again.lease_transitions, again.acquire_time), (Some(1), Some(MicroTime(now))));
    }
}
