//! Three candidates for one lease: whatever happens to them, no two write at a time, requests on their way included.
//!
//! The links between the candidates and the API server are at their worst within what the operator relies on: what was sent arrives up to 2 s later
//! even if its sender is gone, the API server works on it as long as it was told it may, and an answer may be lost.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body as Answer,
    http::{Request, Response, StatusCode},
};
use k8s_openapi::{
    api::core::v1::ConfigMap,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    client::Body,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
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

use super::{in_its_own_time, server::Server};

/// A write that took effect: in which tenure, when it was sent and when it took effect.
#[derive(Debug, Clone)]
struct Written {
    tenure: usize,
    sent: Instant,
    done: Instant,
}

/// What is wrong with the link of a candidate.
#[derive(Debug, Clone, Default)]
struct Trouble {
    /// Nothing that is said about the lease gets through.
    no_lease: bool,
    /// Nothing gets through.
    cut: bool,
    /// Everything about the lease takes this long.
    slow_lease: Duration,
    /// How far the wall clock of the candidate is off.
    clock: SignedDuration,
}

struct Link {
    server: Server,
    trouble: Mutex<Trouble>,
    written: Arc<Mutex<Vec<Written>>>,
    /// How many requests there have been, which decides how slow the next one is.
    count: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Carries a request to the API server, and the answer back.
    async fn carry(self: Arc<Self>, request: Request<Body>) -> Result<Response<Answer>, std::io::Error> {
        let trouble = locked(&self.trouble).clone();
        let lease = request.uri().path().contains("/leases");
        if trouble.cut || (lease && trouble.no_lease) {
            return std::future::pending().await;
        }
        let sent = Instant::now();
        // On its way it is in nobody's hands: it arrives whether or not somebody waits for the answer.
        let arrives = tokio::spawn(self.clone().arrive(request, lease, trouble, sent));
        arrives.await.map_err(std::io::Error::other)?
    }

    async fn arrive(
        self: Arc<Self>,
        request: Request<Body>,
        lease: bool,
        trouble: Trouble,
        sent: Instant,
    ) -> Result<Response<Answer>, std::io::Error> {
        let request = if lease { with_clock(request, trouble.clock).await } else { request };
        if lease {
            sleep(trouble.slow_lease).await;
            return self.server.clone().answer(request).await;
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        sleep([0, 1900, 0, 100][count % 4].into_millis()).await;
        let takes = [10, 300, 10, 8_000, 3_000, 60_000, 10][count % 7].into_millis();
        let may = request.uri().query().unwrap_or_default().split('&').find_map(|part| part.strip_prefix("timeout="));
        let may: u64 =
            may.and_then(|may| may.strip_suffix("ms")?.parse().ok()).expect("a write says how long it may take");
        if takes > may.into_millis() {
            sleep(may.into_millis()).await;
            let mut response =
                Response::new(Answer::from(json!({"kind": "Status", "code": 504, "reason": "Timeout"}).to_string()));
            *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
            return Ok(response);
        }
        sleep(takes).await;
        let (head, body) = request.into_parts();
        let bytes = body.collect_bytes().await.map_err(std::io::Error::other)?;
        let object: Value = serde_json::from_slice(&bytes).expect("JSON");
        let tenure = object["data"]["tenure"].as_str().and_then(|text| text.parse().ok()).expect("evidence");
        locked(&self.written).push(Written { tenure, sent, done: Instant::now() });
        self.server.clone().answer(Request::from_parts(head, bytes.into())).await
    }
}

trait Milliseconds {
    fn into_millis(self) -> Duration;
}

impl Milliseconds for u64 {
    fn into_millis(self) -> Duration {
        Duration::from_millis(self)
    }
}

/// The request with the times that another wall clock would have put into the Lease.
async fn with_clock(request: Request<Body>, clock: SignedDuration) -> Request<Body> {
    if clock.is_zero() || request.method().is_safe() {
        return request;
    }
    let (mut head, body) = request.into_parts();
    let bytes = body.collect_bytes().await.expect("a body");
    let mut lease: Value = serde_json::from_slice(&bytes).expect("JSON");
    let time: Timestamp = lease["spec"]["renewTime"].as_str().and_then(|text| text.parse().ok()).expect("a time");
    lease["spec"]["renewTime"] = json!((time + clock).to_string());
    head.headers.remove("content-length");
    Request::from_parts(head, lease.to_string().into_bytes().into())
}

struct One {
    identity: String,
    link: Arc<Link>,
    heartbeat: Heartbeat,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Candidates for one lease.
struct Candidates {
    server: Server,
    written: Arc<Mutex<Vec<Written>>>,
    /// Whoever began to work last, and the number of its tenure: a new one begins with another instance.
    tenure: Arc<Mutex<(String, usize)>>,
    all: Vec<One>,
    started: usize,
}

impl Candidates {
    fn three() -> Self {
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

    fn start(&mut self) {
        self.started += 1;
        let identity = format!("candidate-{}", self.started);
        let link = Arc::new(Link {
            server: self.server.clone(),
            trouble: Mutex::default(),
            written: self.written.clone(),
            count: AtomicUsize::new(self.started),
        });
        let transport = service_fn({
            let link = link.clone();
            move |request| link.clone().carry(request)
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
                        let mut tenure = locked(&tenure);
                        if tenure.0 != identity {
                            *tenure = (identity.clone(), tenure.1 + 1);
                        }
                        write(client.clone(), tenure.1)
                    })
                    .await;
            }
        });
        self.all.push(One { identity, link, heartbeat, shutdown, task });
    }

    /// Who holds the lease, as far as the API server knows.
    fn holder(&self) -> Option<usize> {
        let lease = self
            .server
            .store(|store| store.objects.get(&("leases".into(), "system".into(), "lease".into())).cloned())?;
        let holder = lease["spec"]["holderIdentity"].as_str()?.to_owned();
        self.all.iter().position(|one| one.identity == holder)
    }

    fn trouble(&self, index: usize, trouble: Trouble) {
        *locked(&self.all[index].link.trouble) = trouble;
    }

    fn kill(&mut self, index: usize) {
        self.all.remove(index).task.abort();
    }

    /// Lets time pass, in which every candidate says that it is alive and ready.
    async fn pass(&self, seconds: u64) {
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

    /// Asserts that no two tenures wrote at a time. Answers with the number of writes, of tenures that wrote, and the longest time without a writer.
    fn judge(&self) -> (usize, usize, Duration) {
        let written = locked(&self.written).clone();
        let mut tenures: Vec<(usize, Instant, Instant)> = Vec::new();
        for write in &written {
            match tenures.iter_mut().find(|(tenure, ..)| *tenure == write.tenure) {
                Some((_, first, last)) => (*first, *last) = ((*first).min(write.sent), (*last).max(write.done)),
                None => tenures.push((write.tenure, write.sent, write.done)),
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

/// Writes ten times a second, each time with evidence of who does.
async fn write(client: Client, tenure: usize) {
    let api: Api<ConfigMap> = Api::namespaced(client, "system");
    let mut writes = JoinSet::new();
    loop {
        let api = api.clone();
        writes.spawn(async move {
            let evidence = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"tenure": tenure.to_string()}});
            // What is refused or not answered is no evidence.
            let _ = api.patch("evidence", &PatchParams::apply("test"), &Patch::Apply(evidence)).await;
        });
        sleep(Duration::from_millis(100)).await;
        while writes.try_join_next().is_some() {}
    }
}

/// Three candidates, of which one leads; then `harm` to that one; then time enough for another.
async fn after(harm: impl AsyncFnOnce(&mut Candidates, usize)) -> (usize, usize, Duration) {
    let mut candidates = Candidates::three();
    candidates.pass(20).await;
    let leader = candidates.holder().expect("somebody leads");
    harm(&mut candidates, leader).await;
    candidates.pass(60).await;
    let figures = candidates.judge();
    println!("{} writes by {} tenures, {} s without a writer at most", figures.0, figures.1, figures.2.as_secs_f32());
    assert!(figures.1 >= 2, "another has taken over");
    figures
}

#[test]
fn a_killed_leader_is_succeeded_once_its_last_writes_are_over() {
    let (.., gap) = in_its_own_time(after(async |candidates, leader| candidates.kill(leader)));
    assert!(gap <= Duration::from_secs(20), "{gap:?}");
}

#[test]
fn a_leader_that_cannot_renew_stops_writing_although_its_writes_get_through() {
    let (.., gap) = in_its_own_time(after(async |candidates, leader| {
        candidates.trouble(leader, Trouble { no_lease: true, ..Trouble::default() });
    }));
    assert!(gap <= Duration::from_secs(20), "{gap:?}");
}

#[test]
fn a_leader_whose_renewals_are_answered_late_and_then_not_at_all_is_no_second_writer() {
    in_its_own_time(after(async |candidates, leader| {
        for slow in [3, 9, 12] {
            candidates.trouble(leader, Trouble { slow_lease: Duration::from_secs(slow), ..Trouble::default() });
            candidates.pass(30).await;
        }
    }));
}

#[test]
fn a_leader_that_is_cut_off_and_comes_back_finds_another_and_waits() {
    in_its_own_time(after(async |candidates, leader| {
        candidates.trouble(leader, Trouble { cut: true, ..Trouble::default() });
        candidates.pass(40).await;
        candidates.trouble(leader, Trouble::default());
    }));
}

#[test]
fn wall_clocks_need_not_agree() {
    in_its_own_time(after(async |candidates, leader| {
        for (index, hours) in [-1, 1, 100_000].into_iter().enumerate() {
            candidates.trouble(index, Trouble { clock: SignedDuration::from_hours(hours), ..Trouble::default() });
        }
        candidates.pass(30).await;
        candidates.kill(leader);
    }));
}

#[test]
fn when_the_server_is_away_for_longer_than_the_lease_lasts_one_of_them_goes_on_afterwards() {
    for away in [9, 14, 16, 120] {
        in_its_own_time(async {
            let candidates = Candidates::three();
            candidates.pass(20).await;
            let before = candidates.judge().0;
            for index in 0..3 {
                candidates.trouble(index, Trouble { cut: true, ..Trouble::default() });
            }
            candidates.pass(away).await;
            for index in 0..3 {
                candidates.trouble(index, Trouble::default());
            }
            candidates.pass(60).await;
            let (writes, tenures, gap) = candidates.judge();
            println!("away for {away} s: {tenures} tenures, {} s without a writer at most", gap.as_secs_f32());
            assert!(writes > before + 100, "{before} writes before and {writes} at the end");
        });
    }
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_at_once_unless_something_of_its_own_may_still_happen() {
    let (.., gap) = in_its_own_time(after(async |candidates, leader| candidates.all[leader].shutdown.cancel()));
    assert!(gap <= Duration::from_secs(20), "{gap:?}");
    // With nothing slow on its way there is nothing to wait for.
    let gap = in_its_own_time(async {
        let fence = Fence::default();
        let server = Server::default();
        let transport = service_fn({
            let server = server.clone();
            move |request| server.clone().answer(request)
        });
        let candidate = |identity: &str, fence| {
            Candidate::new(
                Client::new(with_limits(transport.clone(), None), "system"),
                "system",
                "lease",
                identity,
                fence,
            )
        };
        let (heartbeat, metrics) = (Heartbeat::default(), Metrics::default());
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let (one, two) = (candidate("one", fence), candidate("two", Fence::default()));
        let lead = async {
            one.lead(&metrics, &heartbeat, &first, std::future::pending::<()>).await;
            let ended = Instant::now();
            two.lead(&metrics, &heartbeat, &second, || {
                second.cancel();
                std::future::pending::<()>()
            })
            .await;
            ended.elapsed()
        };
        let stop = async {
            sleep(Duration::from_secs(10)).await;
            first.cancel();
        };
        futures::join!(lead, stop).0
    });
    assert!(gap < Duration::from_secs(3), "{gap:?}");
}

#[test]
fn an_hour_of_random_trouble_never_makes_two_writers() {
    for seed in 0..8 {
        let (writes, tenures, gap) = in_its_own_time(async {
            let mut random = StdRng::seed_from_u64(seed);
            let mut candidates = Candidates::three();
            let end = Instant::now() + Duration::from_secs(3600);
            while Instant::now() < end {
                candidates.pass(random.random_range(1..20)).await;
                // Mostly the leader: the others matter less.
                let index = match candidates.holder() {
                    Some(leader) if random.random_bool(0.7) => leader,
                    _ => random.random_range(0..candidates.all.len()),
                };
                match random.random_range(0..8) {
                    0 => {
                        candidates.kill(index);
                        candidates.start();
                    }
                    1 => {
                        candidates.all[index].shutdown.cancel();
                        candidates.pass(random.random_range(1..8)).await;
                        candidates.kill(index);
                        candidates.start();
                    }
                    2 => candidates.trouble(index, Trouble { no_lease: true, ..Trouble::default() }),
                    3 => candidates.trouble(index, Trouble { cut: true, ..Trouble::default() }),
                    4 => {
                        let slow_lease = Duration::from_millis(random.random_range(0..14_000));
                        candidates.trouble(index, Trouble { slow_lease, ..Trouble::default() });
                    }
                    _ => (0..candidates.all.len()).for_each(|index| candidates.trouble(index, Trouble::default())),
                }
            }
            candidates.judge()
        });
        println!("seed {seed}: {writes} writes by {tenures} tenures, {} s without a writer at most", gap.as_secs_f32());
        assert!(tenures > 20, "the leader changed often enough to mean something");
    }
}
