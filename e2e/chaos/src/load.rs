//! The load: tenants of all tiers that exceed their limits, repeat submissions, cancel and watch.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use switchyard_contract::{Kind, Lane, Tier};
use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    caller::{Answer, Caller},
    script,
    watcher::{Watch, watch},
};

/// The tenants: tier, initial credits, and number of concurrent callers.
const TENANTS: &[(Tier, i64, u32)] = &[
    (Tier::Free, 1000, 1),
    // Runs out of credits soon.
    (Tier::Free, 12, 1),
    (Tier::Standard, 10_000, 2),
    (Tier::Standard, 10_000, 1),
    (Tier::Premium, 10_000, 2),
    (Tier::Premium, 10_000, 1),
    (Tier::Enterprise, 10_000, 2),
    // Floods its lane.
    (Tier::Enterprise, 100_000, 3),
];
/// Number of popular profiles at a time, and how long they stay popular.
const POPULAR: (u32, Duration) = (3, Duration::from_secs(3));
/// Highest number of concurrent watchers.
const WATCHERS: u32 = 12;
/// Highest number of repeats of a submission with a key and no conclusive response.
const REPEATS: u32 = 8;

/// A submission.
#[derive(Debug, Clone)]
pub struct Sent {
    pub tenant: Uuid,
    pub username: String,
    force_refresh: bool,
    pub key: Option<String>,
    /// Outcome of the call.
    pub answer: Answer,
}

/// Records the calls and their outcomes.
#[derive(Default)]
pub struct Notes {
    sent: Mutex<Vec<Sent>>,
    watches: Mutex<Vec<Watch>>,
    counts: Mutex<BTreeMap<String, u32>>,
    watching: AtomicU32,
}

impl Notes {
    /// All submissions.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().clone()
    }

    /// Number of calls by kind and outcome.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        self.counts.lock().clone()
    }

    fn count(&self, what: impl Into<String>) {
        *self.counts.lock().entry(what.into()).or_default() += 1;
    }

    /// Records a submission before it is sent, because its response may be lost.
    fn record_sent(&self, sent: Sent) -> usize {
        let mut all = self.sent.lock();
        all.push(sent);
        all.len() - 1
    }

    fn record_answer(&self, number: usize, answer: &Answer) {
        self.sent.lock()[number].answer = answer.clone();
        self.count(format!("submissions: {}", answer.outcome()));
    }

    /// Stores submissions and watches in the harness' tables for the checks.
    ///
    /// # Errors
    /// A statement fails.
    pub async fn store(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let insert = "insert into chaos.requests (id, tenant_id, username, key, job_id) values ($1, $2, $3, $4, $5)";
        let insert = client.prepare(insert).await?;
        for (number, sent) in (0_i64..).zip(self.sent()) {
            let job = sent.answer.accepted();
            client.execute(&insert, &[&number, &sent.tenant, &sent.username, &sent.key, &job]).await?;
        }
        let watches = self.watches.lock().clone();
        for Watch { job, seqs, ended } in watches {
            client
                .execute("insert into chaos.watches (job_id, seqs, ended) values ($1, $2, $3)", &[&job, &seqs, &ended])
                .await?;
        }
        Ok(())
    }
}

/// A tenant with its own API key.
#[derive(Clone)]
struct Tenant {
    id: Uuid,
    /// Prefix of its usernames.
    name: String,
    caller: Caller,
}

/// The running callers and watchers.
pub struct Load {
    pub notes: Arc<Notes>,
    admin: Caller,
    tenants: Vec<Tenant>,
    /// Stops the callers.
    stop: CancellationToken,
    /// Stops the watchers.
    stop_watching: CancellationToken,
    calling: JoinSet<()>,
    watching: Arc<Mutex<JoinSet<()>>>,
}

/// The body of a successful response.
fn successful(answer: Answer) -> anyhow::Result<Value> {
    match answer {
        Answer::Response { status: 200..=299, body } => Ok(body),
        other => bail!("the API answered {other:?}"),
    }
}

impl Load {
    /// Creates the tenants and starts the callers.
    ///
    /// # Errors
    /// The API creates no tenant, or no key for it.
    pub async fn start(admin: Caller, seed: u64) -> anyhow::Result<Self> {
        let mut load = Self {
            notes: Arc::default(),
            admin,
            tenants: Vec::new(),
            stop: CancellationToken::new(),
            stop_watching: CancellationToken::new(),
            calling: JoinSet::new(),
            watching: Arc::default(),
        };
        for (number, (tier, credits, callers)) in (0_u64..).zip(TENANTS) {
            let tenant = load.tenant(*tier, *credits, number).await.context("could not create a tenant")?;
            for n in 0..u64::from(*callers) {
                let caller = CallerLoop {
                    tenant: tenant.clone(),
                    number: n,
                    notes: load.notes.clone(),
                    rng: StdRng::seed_from_u64(seed ^ (number << 8) ^ (n << 16)),
                    watching: load.watching.clone(),
                    stop_watching: load.stop_watching.clone(),
                    began: Instant::now(),
                    generated: 0,
                };
                load.calling.spawn(caller.run(load.stop.clone()));
            }
            load.tenants.push(tenant);
        }
        let ids = load.tenants.iter().map(|tenant| tenant.id).collect();
        let rng = StdRng::seed_from_u64(!seed);
        load.calling.spawn(administer(load.admin.clone(), ids, load.notes.clone(), rng, load.stop.clone()));
        Ok(load)
    }

    async fn tenant(&self, tier: Tier, credits: i64, number: u64) -> anyhow::Result<Tenant> {
        let name = format!("{tier}{number}");
        let body = json!({ "name": name, "tier": tier, "credits": credits });
        let created = successful(self.admin.post("/admin/v1/tenants", &body).await)?;
        let id: Uuid = created["id"].as_str().context("the response has an id")?.parse()?;
        let key = successful(self.admin.post(&format!("/admin/v1/tenants/{id}/keys"), &json!({})).await)?;
        Ok(Tenant { id, name, caller: self.admin.with_key(key["key"].as_str().context("the response has a key")?) })
    }

    /// Stops the callers, resumes every queue, and repeats each submission with a key until its
    /// response is conclusive.
    ///
    /// # Errors
    /// A call has no conclusive response after a hundred attempts.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while self.calling.join_next().await.is_some() {}
        for kind in Kind::ALL {
            for lane in Lane::ALL {
                let path = format!("/admin/v1/lanes/{kind}/{lane}/resume");
                retry_until_conclusive(&path, || async { self.admin.post(&path, &json!({})).await }).await?;
            }
        }
        // The last submission of each key, and whether any response was conclusive.
        let mut keys: BTreeMap<(Uuid, String), (Sent, bool)> = BTreeMap::new();
        for sent in self.notes.sent() {
            let Some(key) = sent.key.clone() else { continue };
            let conclusive = sent.answer.is_conclusive();
            let (last, known) = keys.entry((sent.tenant, key)).or_insert_with(|| (sent.clone(), false));
            *last = sent;
            *known |= conclusive;
        }
        for (open, _) in keys.into_values().filter(|(_, known)| !known) {
            let tenant =
                self.tenants.iter().find(|tenant| tenant.id == open.tenant).context("the tenant is in the list")?;
            retry_until_conclusive("submission with a key", || submit(&self.notes, tenant, open.clone())).await?;
            self.notes.count("submissions settled after the load");
        }
        Ok(())
    }

    /// Waits until each watcher has seen its job's end, at most `timeout`, and records what they
    /// received.
    pub async fn wait_for_watchers(self, timeout: Duration) {
        let mut watching = std::mem::take(&mut *self.watching.lock());
        let all = async { while watching.join_next().await.is_some() {} };
        if tokio::time::timeout(timeout, all).await.is_err() {
            self.stop_watching.cancel();
            while watching.join_next().await.is_some() {}
        }
    }
}

/// Repeats a call until its response is conclusive.
async fn retry_until_conclusive<F: Future<Output = Answer>>(what: &str, call: impl Fn() -> F) -> anyhow::Result<()> {
    for _ in 0..100 {
        if call().await.is_conclusive() {
            return Ok(());
        }
        sleep(Duration::from_millis(300)).await;
    }
    bail!("{what}: no conclusive response, although all faults are over");
}

/// Sends a submission once.
async fn submit(notes: &Notes, tenant: &Tenant, sent: Sent) -> Answer {
    let body = json!({ "username": sent.username, "force_refresh": sent.force_refresh });
    let key = sent.key.clone();
    let number = notes.record_sent(Sent { answer: Answer::NoResponse, ..sent });
    let answer = tenant.caller.call(Method::POST, "/v1/analyses", Some(&body), key.as_deref()).await;
    notes.record_answer(number, &answer);
    answer
}

/// A concurrent caller of a tenant.
struct CallerLoop {
    tenant: Tenant,
    number: u64,
    notes: Arc<Notes>,
    rng: StdRng,
    watching: Arc<Mutex<JoinSet<()>>>,
    stop_watching: CancellationToken,
    began: Instant,
    /// Usernames generated so far.
    generated: u32,
}

impl CallerLoop {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            sleep(Duration::from_millis(self.rng.random_range(30..250))).await;
            let answer = self.submit().await;
            if let Some(job) = answer.accepted() {
                self.after(job).await;
            } else if matches!(answer, Answer::Response { status: 429, .. }) {
                // Ignores Retry-After on purpose, to keep the pressure up.
                sleep(Duration::from_millis(self.rng.random_range(50..400))).await;
            }
        }
    }

    fn new_name(&mut self, what: &str) -> String {
        self.generated += 1;
        format!("{}-{}-{what}{}", self.tenant.name, self.number, self.generated)
    }

    /// Submits an analysis. With a key, it repeats until the response is conclusive or [`REPEATS`]
    /// is reached, and sometimes repeats once more.
    async fn submit(&mut self) -> Answer {
        let keyed = self.rng.random_bool(0.5);
        let username = match self.rng.random_range(0..10) {
            // Each key has its own profile, so that jobs can be counted per key.
            _ if keyed => self.new_name("k"),
            0..7 => {
                let season = self.began.elapsed().as_millis() / POPULAR.1.as_millis();
                format!("{}-{season}-{}", script::POPULAR, self.rng.random_range(0..POPULAR.0))
            }
            _ => self.new_name("p"),
        };
        let key = keyed.then(|| format!("key-of-{username}"));
        let sent = Sent {
            tenant: self.tenant.id,
            username,
            force_refresh: self.rng.random_bool(0.2),
            key,
            answer: Answer::NoResponse,
        };
        let mut answer = submit(&self.notes, &self.tenant, sent.clone()).await;
        if sent.key.is_none() {
            return answer;
        }
        let mut repeats = 0;
        while !answer.is_conclusive() && repeats < REPEATS {
            repeats += 1;
            sleep(Duration::from_millis(self.rng.random_range(20..300))).await;
            answer = submit(&self.notes, &self.tenant, sent.clone()).await;
        }
        if self.rng.random_bool(0.2) {
            let (once, twice) =
                tokio::join!(submit(&self.notes, &self.tenant, sent.clone()), submit(&self.notes, &self.tenant, sent));
            // A submission that was refused before may be accepted now.
            return [once, twice].into_iter().find(|again| again.accepted().is_some()).unwrap_or(answer);
        }
        answer
    }

    /// Cancels, watches or reads an accepted job.
    async fn after(&mut self, job: Uuid) {
        let caller = &self.tenant.caller;
        match self.rng.random_range(0..20) {
            0..3 => {
                sleep(Duration::from_millis(self.rng.random_range(0..700))).await;
                let answer = caller.post(&format!("/v1/jobs/{job}/cancel"), &json!({})).await;
                self.notes.count(if answer.is_conclusive() { "cancels: conclusive" } else { "cancels: inconclusive" });
            }
            3..6 if self.notes.watching.fetch_add(1, Ordering::Relaxed) < WATCHERS => {
                let (caller, stop_watching, notes) = (caller.clone(), self.stop_watching.clone(), self.notes.clone());
                self.watching.lock().spawn(async move {
                    let seen = watch(caller, job, stop_watching).await;
                    notes.watching.fetch_sub(1, Ordering::Relaxed);
                    notes.count("watches");
                    notes.watches.lock().push(seen);
                });
            }
            3..6 => drop(self.notes.watching.fetch_sub(1, Ordering::Relaxed)),
            6 => drop(caller.get(&format!("/v1/jobs/{job}")).await),
            7 => drop(caller.get(&format!("/v1/jobs/{job}/result")).await),
            8 => drop(caller.get("/v1/jobs?limit=5").await),
            9 => drop(caller.get("/v1/usage").await),
            _ => {}
        }
    }
}

/// The administrator: replays and discards dead jobs, pauses and resumes queues, and grants
/// credits.
async fn administer(admin: Caller, tenants: Vec<Uuid>, notes: Arc<Notes>, mut rng: StdRng, stop: CancellationToken) {
    let act = async |path: String, body: Value, what: &str| {
        let answer = admin.post(&path, &body).await;
        notes.count(format!(
            "{what}: {}",
            if let Answer::Response { status: 200, .. } = answer { "done" } else { "not done" }
        ));
    };
    while !stop.is_cancelled() {
        sleep(Duration::from_millis(300)).await;
        if rng.random_bool(0.05) {
            let kind = Kind::ALL[rng.random_range(0..Kind::ALL.len())];
            let lane = Lane::ALL[rng.random_range(0..Lane::ALL.len())];
            act(format!("/admin/v1/lanes/{kind}/{lane}/pause"), json!({}), "pauses").await;
            sleep(Duration::from_millis(500)).await;
            act(format!("/admin/v1/lanes/{kind}/{lane}/resume"), json!({}), "resumes").await;
        }
        if rng.random_bool(0.1) {
            let tenant = tenants[rng.random_range(0..tenants.len())];
            let body = json!({ "amount": rng.random_range(1..20), "reason": "grant" });
            act(format!("/admin/v1/tenants/{tenant}/credits"), body, "grants").await;
        }
        let Answer::Response { status: 200, body } = admin.get("/admin/v1/dead?limit=20").await else { continue };
        for dead in body["dead"].as_array().into_iter().flatten() {
            let Some(job) = dead["job"]["id"].as_str() else { continue };
            match rng.random_range(0..4) {
                0 => act(format!("/admin/v1/dead/{job}/replay"), json!({}), "replays").await,
                1 => act(format!("/admin/v1/dead/{job}/discard"), json!({}), "discards").await,
                _ => {}
            }
        }
    }
}
