//! Tenants of all tiers who ask for more than they may, repeat themselves, change their minds and watch.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
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

/// Who calls: tier, credits at the beginning, and how many do so at once in its name.
const TENANTS: &[(Tier, i64, u32)] = &[
    (Tier::Free, 1000, 1),
    // Soon without credits.
    (Tier::Free, 12, 1),
    (Tier::Standard, 10_000, 2),
    (Tier::Standard, 10_000, 1),
    (Tier::Premium, 10_000, 2),
    (Tier::Premium, 10_000, 1),
    (Tier::Enterprise, 10_000, 2),
    // The one who floods.
    (Tier::Enterprise, 100_000, 3),
];
/// Profiles that several tenants want at a time, and how long they want them.
const POPULAR: (u32, Duration) = (3, Duration::from_secs(3));
/// Watchers at once.
const WATCHERS: u32 = 12;
/// Times that a submission with a key is repeated while answers break.
const REPEATS: u32 = 8;

/// A submission that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub tenant: Uuid,
    pub username: String,
    force_refresh: bool,
    pub key: Option<String>,
    /// What it was answered.
    pub answer: Answer,
}

/// What callers did and were told.
#[derive(Default)]
pub struct Notes {
    sent: Mutex<Vec<Sent>>,
    watches: Mutex<Vec<Watch>>,
    counts: Mutex<BTreeMap<String, u32>>,
    watching: AtomicU32,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    /// Everything that was sent.
    pub fn sent(&self) -> Vec<Sent> {
        locked(&self.sent).clone()
    }

    /// How often callers were told what, and what else they did.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        locked(&self.counts).clone()
    }

    fn count(&self, what: impl Into<String>) {
        *locked(&self.counts).entry(what.into()).or_default() += 1;
    }

    /// Notes a submission before it is sent, for it may be the last thing that is heard of it.
    fn sends(&self, sent: Sent) -> usize {
        let mut all = locked(&self.sent);
        all.push(sent);
        all.len() - 1
    }

    fn answered(&self, number: usize, answer: &Answer) {
        locked(&self.sent)[number].answer = answer.clone();
        self.count(format!("submissions: {}", answer.outcome()));
    }

    /// Puts what the checks have to know into the harness' tables.
    pub async fn keep(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let insert = "insert into chaos.requests (id, tenant_id, username, key, job_id) values ($1, $2, $3, $4, $5)";
        let insert = client.prepare(insert).await?;
        for (number, sent) in (0_i64..).zip(self.sent()) {
            let job = sent.answer.accepted();
            client.execute(&insert, &[&number, &sent.tenant, &sent.username, &sent.key, &job]).await?;
        }
        let watches = locked(&self.watches).clone();
        for Watch { job, seqs, ended } in watches {
            client
                .execute("insert into chaos.watches (job_id, seqs, ended) values ($1, $2, $3)", &[&job, &seqs, &ended])
                .await?;
        }
        Ok(())
    }
}

/// A tenant with a key of its own.
#[derive(Clone)]
struct Tenant {
    id: Uuid,
    /// Part of the names that it makes up.
    name: String,
    caller: Caller,
}

/// The callers of a run.
pub struct Load {
    pub notes: Arc<Notes>,
    admin: Caller,
    tenants: Vec<Tenant>,
    /// Ends the calling.
    stop: CancellationToken,
    /// Ends the watching.
    blind: CancellationToken,
    calling: JoinSet<()>,
    watching: Arc<Mutex<JoinSet<()>>>,
}

/// The answer's body, when it is a good one.
fn good(answer: Answer) -> anyhow::Result<Value> {
    match answer {
        Answer::Given { status: 200..=299, body } => Ok(body),
        other => bail!("the API answered {other:?}"),
    }
}

impl Load {
    /// Makes the tenants and lets them begin.
    pub async fn begin(admin: Caller, seed: u64) -> anyhow::Result<Self> {
        let mut load = Self {
            notes: Arc::default(),
            admin,
            tenants: Vec::new(),
            stop: CancellationToken::new(),
            blind: CancellationToken::new(),
            calling: JoinSet::new(),
            watching: Arc::default(),
        };
        for (number, (tier, credits, callers)) in (0_u64..).zip(TENANTS) {
            let tenant = load.tenant(*tier, *credits, number).await.context("making a tenant")?;
            for n in 0..u64::from(*callers) {
                let caller = CallerLoop {
                    tenant: tenant.clone(),
                    number: n,
                    notes: load.notes.clone(),
                    dice: StdRng::seed_from_u64(seed ^ (number << 8) ^ (n << 16)),
                    watching: load.watching.clone(),
                    blind: load.blind.clone(),
                    began: Instant::now(),
                    made: 0,
                };
                load.calling.spawn(caller.run(load.stop.clone()));
            }
            load.tenants.push(tenant);
        }
        let ids = load.tenants.iter().map(|tenant| tenant.id).collect();
        let dice = StdRng::seed_from_u64(!seed);
        load.calling.spawn(administer(load.admin.clone(), ids, load.notes.clone(), dice, load.stop.clone()));
        Ok(load)
    }

    async fn tenant(&self, tier: Tier, credits: i64, number: u64) -> anyhow::Result<Tenant> {
        let name = format!("{tier}{number}");
        let made = json!({ "name": name, "tier": tier, "credits": credits });
        let made = good(self.admin.post("/admin/v1/tenants", &made).await)?;
        let id: Uuid = made["id"].as_str().context("a tenant has an id")?.parse()?;
        let key = good(self.admin.post(&format!("/admin/v1/tenants/{id}/keys"), &json!({})).await)?;
        Ok(Tenant { id, name, caller: self.admin.with_key(key["key"].as_str().context("a key was made")?) })
    }

    /// Ends the calling, resumes every queue, and repeats each submission with a key until its answer is known.
    pub async fn quiet(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while self.calling.join_next().await.is_some() {}
        for kind in Kind::ALL {
            for lane in Lane::ALL {
                let path = format!("/admin/v1/lanes/{kind}/{lane}/resume");
                patiently(&path, || async { self.admin.post(&path, &json!({})).await }).await?;
            }
        }
        // The last of each key's submissions, and whether any of them was answered for sure.
        let mut keys: BTreeMap<(Uuid, String), (Sent, bool)> = BTreeMap::new();
        for sent in self.notes.sent() {
            let Some(key) = sent.key.clone() else { continue };
            let sure = sent.answer.is_sure();
            let (last, known) = keys.entry((sent.tenant, key)).or_insert_with(|| (sent.clone(), false));
            *last = sent;
            *known |= sure;
        }
        for (open, _) in keys.into_values().filter(|(_, known)| !known) {
            let tenant = self.tenants.iter().find(|tenant| tenant.id == open.tenant).context("a tenant of ours")?;
            patiently("a submission with a key", || submit(&self.notes, tenant, open.clone())).await?;
            self.notes.count("submissions settled after the load");
        }
        Ok(())
    }

    /// Waits until each watcher has seen its job's end, `patience` at most, and notes what they saw.
    pub async fn watched(self, patience: Duration) {
        let mut watching = std::mem::take(&mut *locked(&self.watching));
        let all = async { while watching.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            self.blind.cancel();
            while watching.join_next().await.is_some() {}
        }
    }
}

/// Repeats a call until it is answered.
async fn patiently<F: Future<Output = Answer>>(what: &str, call: impl Fn() -> F) -> anyhow::Result<()> {
    for _ in 0..100 {
        if call().await.is_sure() {
            return Ok(());
        }
        sleep(Duration::from_millis(300)).await;
    }
    bail!("{what}: the API gives no answer, although everything runs again");
}

/// Sends a submission once.
async fn submit(notes: &Notes, tenant: &Tenant, sent: Sent) -> Answer {
    let body = json!({ "username": sent.username, "force_refresh": sent.force_refresh });
    let key = sent.key.clone();
    let number = notes.sends(Sent { answer: Answer::Broken, ..sent });
    let answer = tenant.caller.call(Method::POST, "/v1/analyses", Some(&body), key.as_deref()).await;
    notes.answered(number, &answer);
    answer
}

/// One of a tenant's callers.
struct CallerLoop {
    tenant: Tenant,
    number: u64,
    notes: Arc<Notes>,
    dice: StdRng,
    watching: Arc<Mutex<JoinSet<()>>>,
    blind: CancellationToken,
    began: Instant,
    /// Names made up so far.
    made: u32,
}

impl CallerLoop {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            sleep(Duration::from_millis(self.dice.random_range(30..250))).await;
            let answer = self.submit().await;
            if let Some(job) = answer.accepted() {
                self.after(job).await;
            } else if matches!(answer, Answer::Given { status: 429, .. }) {
                // Not by the book, which says Retry-After: they press on.
                sleep(Duration::from_millis(self.dice.random_range(50..400))).await;
            }
        }
    }

    fn new_name(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{}-{}-{what}{}", self.tenant.name, self.number, self.made)
    }

    /// Asks for an analysis; with a key, until the answer is known or patience ends, and now and then once more.
    async fn submit(&mut self) -> Answer {
        let keyed = self.dice.random_bool(0.5);
        let username = match self.dice.random_range(0..10) {
            // A key's profile is its own, so that jobs can be counted by it.
            _ if keyed => self.new_name("k"),
            0..7 => {
                let season = self.began.elapsed().as_millis() / POPULAR.1.as_millis();
                format!("{}-{season}-{}", script::POPULAR, self.dice.random_range(0..POPULAR.0))
            }
            _ => self.new_name("p"),
        };
        let key = keyed.then(|| format!("key-of-{username}"));
        let sent = Sent {
            tenant: self.tenant.id,
            username,
            force_refresh: self.dice.random_bool(0.2),
            key,
            answer: Answer::Broken,
        };
        let mut answer = submit(&self.notes, &self.tenant, sent.clone()).await;
        if sent.key.is_none() {
            return answer;
        }
        let mut repeats = 0;
        while !answer.is_sure() && repeats < REPEATS {
            repeats += 1;
            sleep(Duration::from_millis(self.dice.random_range(20..300))).await;
            answer = submit(&self.notes, &self.tenant, sent.clone()).await;
        }
        if self.dice.random_bool(0.2) {
            let (once, twice) =
                tokio::join!(submit(&self.notes, &self.tenant, sent.clone()), submit(&self.notes, &self.tenant, sent));
            // Refused before, it may be accepted now.
            return [once, twice].into_iter().find(|again| again.accepted().is_some()).unwrap_or(answer);
        }
        answer
    }

    /// What a caller does with an accepted job.
    async fn after(&mut self, job: Uuid) {
        let caller = &self.tenant.caller;
        match self.dice.random_range(0..20) {
            0..3 => {
                sleep(Duration::from_millis(self.dice.random_range(0..700))).await;
                let answer = caller.post(&format!("/v1/jobs/{job}/cancel"), &json!({})).await;
                self.notes.count(if answer.is_sure() { "cancels: answered" } else { "cancels: not answered" });
            }
            3..6 if self.notes.watching.fetch_add(1, Ordering::Relaxed) < WATCHERS => {
                let (caller, blind, notes) = (caller.clone(), self.blind.clone(), self.notes.clone());
                locked(&self.watching).spawn(async move {
                    let seen = watch(caller, job, blind).await;
                    notes.watching.fetch_sub(1, Ordering::Relaxed);
                    notes.count("watches");
                    locked(&notes.watches).push(seen);
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

/// The administrator: replays and discards dead jobs, pauses and resumes queues, gives credits.
async fn administer(admin: Caller, tenants: Vec<Uuid>, notes: Arc<Notes>, mut dice: StdRng, stop: CancellationToken) {
    let act = async |path: String, body: Value, what: &str| {
        let answer = admin.post(&path, &body).await;
        notes.count(format!(
            "{what}: {}",
            if let Answer::Given { status: 200, .. } = answer { "done" } else { "not done" }
        ));
    };
    while !stop.is_cancelled() {
        sleep(Duration::from_millis(300)).await;
        if dice.random_bool(0.05) {
            let kind = Kind::ALL[dice.random_range(0..Kind::ALL.len())];
            let lane = Lane::ALL[dice.random_range(0..Lane::ALL.len())];
            act(format!("/admin/v1/lanes/{kind}/{lane}/pause"), json!({}), "pauses").await;
            sleep(Duration::from_millis(500)).await;
            act(format!("/admin/v1/lanes/{kind}/{lane}/resume"), json!({}), "resumes").await;
        }
        if dice.random_bool(0.1) {
            let tenant = tenants[dice.random_range(0..tenants.len())];
            let body = json!({ "amount": dice.random_range(1..20), "reason": "a gift" });
            act(format!("/admin/v1/tenants/{tenant}/credits"), body, "gifts").await;
        }
        let Answer::Given { status: 200, body } = admin.get("/admin/v1/dead?limit=20").await else { continue };
        for dead in body["dead"].as_array().into_iter().flatten() {
            let Some(job) = dead["job"]["id"].as_str() else { continue };
            match dice.random_range(0..4) {
                0 => act(format!("/admin/v1/dead/{job}/replay"), json!({}), "replays").await,
                1 => act(format!("/admin/v1/dead/{job}/discard"), json!({}), "discards").await,
                _ => {}
            }
        }
    }
}
