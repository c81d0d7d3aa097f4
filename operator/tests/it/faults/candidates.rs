//! Candidates for one lease. The leader writes, and each write records its tenure.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use axum::{
    body::Body as Answer,
    http::{Request, StatusCode},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::json;
use switchyard_operator::{
    kubernetes::{client::with_limits, leader_election::Candidate, write_fence::Fence},
    telemetry::{heartbeat::Heartbeat, http::router, metrics::Metrics},
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt as _, service_fn};

use super::{
    network::{Link, LinkFaults, Written},
    server::Server,
};

pub struct RunningCandidate {
    identity: String,
    link: Arc<Link>,
    heartbeat: Heartbeat,
    pub shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Candidates for one lease.
pub struct Candidates {
    server: Server,
    written: Arc<Mutex<Vec<Written>>>,
    /// Identity of the last leader, and number of its tenure. A change of leader begins a new
    /// tenure.
    tenure: Arc<Mutex<(String, usize)>>,
    pub all: Vec<RunningCandidate>,
    started: usize,
}

impl Candidates {
    pub fn three() -> Self {
        let mut candidates = Self {
            server: Server::default(),
            written: Arc::default(),
            tenure: Arc::default(),
            all: Vec::new(),
            started: 0,
        };
        for _ in 0..3 {
            candidates.start();
        }
        candidates
    }

    pub fn start(&mut self) {
        self.started += 1;
        let identity = format!("candidate-{}", self.started);
        let link = Arc::new(Link {
            server: self.server.clone(),
            faults: Mutex::default(),
            written: self.written.clone(),
            count: AtomicUsize::new(self.started),
        });
        let transport = service_fn({
            let link = link.clone();
            move |request| link.clone().transport(request)
        });
        let fence = Fence::default();
        let election = Client::new(with_limits(transport.clone(), None), "system");
        let client = Client::new(with_limits(transport, Some(fence.clone())), "system");
        let (heartbeat, shutdown) = (Heartbeat::default(), CancellationToken::new());
        let candidate = Candidate::new(election, "system", "lease", &identity, fence);
        let task = tokio::spawn({
            let (heartbeat, shutdown, identity) = (heartbeat.clone(), shutdown.clone(), identity.clone());
            let tenure = self.tenure.clone();
            async move {
                let metrics = Metrics::default();
                candidate
                    .lead(&metrics, &heartbeat, &shutdown, || {
                        let mut tenure = tenure.lock();
                        if tenure.0 != identity {
                            *tenure = (identity.clone(), tenure.1 + 1);
                        }
                        write(client.clone(), tenure.1)
                    })
                    .await;
            }
        });
        self.all.push(RunningCandidate { identity, link, heartbeat, shutdown, task });
    }

    /// Index of the holder of the Lease.
    pub fn holder(&self) -> Option<usize> {
        let lease = self
            .server
            .store(|store| store.objects.get(&("leases".into(), "system".into(), "lease".into())).cloned())?;
        let holder = lease["spec"]["holderIdentity"].as_str()?.to_owned();
        self.all.iter().position(|one| one.identity == holder)
    }

    pub fn set_faults(&self, index: usize, faults: LinkFaults) {
        *self.all[index].link.faults.lock() = faults;
    }

    pub fn kill(&mut self, index: usize) {
        self.all.remove(index).task.abort();
    }

    /// Lets time pass, and checks the probes of every candidate each second.
    pub async fn advance(&self, seconds: u64) {
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            for one in self.all.iter().filter(|one| !one.task.is_finished()) {
                for path in ["/livez", "/readyz"] {
                    let app = router(Metrics::default(), one.heartbeat.clone(), one.shutdown.clone());
                    let request = Request::get(path).body(Answer::empty()).expect("a request");
                    let status = app.oneshot(request).await.expect("it never fails").status();
                    assert!(
                        status == StatusCode::OK || one.shutdown.is_cancelled(),
                        "{} of {}: {status}",
                        path,
                        one.identity
                    );
                }
            }
        }
    }

    /// Asserts that the writes of no two tenures overlap. Returns the number of writes, the number
    /// of tenures that wrote, and the longest time without a writer.
    pub fn check_writes(&self) -> (usize, usize, Duration) {
        let written = self.written.lock().clone();
        let mut tenures: Vec<(usize, Instant, Instant)> = Vec::new();
        for write in &written {
            match tenures.iter_mut().find(|(tenure, ..)| *tenure == write.tenure) {
                Some((_, first, last)) => (*first, *last) = ((*first).min(write.sent), (*last).max(write.executed)),
                None => tenures.push((write.tenure, write.sent, write.executed)),
            }
        }
        tenures.sort();
        let mut longest = Duration::ZERO;
        for pair in tenures.windows(2) {
            let ((old, _, end), (new, begin, _)) = (pair[0], pair[1]);
            assert!(
                end < begin,
                "tenure {old} wrote until {:?} after tenure {new} had begun to",
                end.duration_since(begin)
            );
            longest = longest.max(begin.duration_since(end));
        }
        (written.len(), tenures.len(), longest)
    }
}

/// Writes ten times a second. Each write carries the tenure of its leader.
async fn write(client: Client, tenure: usize) {
    let api: Api<ConfigMap> = Api::namespaced(client, "system");
    let mut writes = JoinSet::new();
    loop {
        let api = api.clone();
        writes.spawn(async move {
            let evidence = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"tenure": tenure.to_string()}});
            // Only writes that take effect count.
            let _ = api.patch("evidence", &PatchParams::apply("test"), &Patch::Apply(evidence)).await;
        });
        sleep(Duration::from_millis(100)).await;
        while writes.try_join_next().is_some() {}
    }
}
