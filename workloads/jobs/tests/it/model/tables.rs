//! Contents of the database and of the reference as text lines, for comparison.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::model::{JobId, JobState, Origin, TenantId};

use super::{
    job::{ClaimNumber, Job, Number},
    reference::Reference,
    tenant::Reason,
};

#[derive(Deserialize)]
pub struct Tables {
    tenants: Vec<TenantRow>,
    ledger: Vec<LedgerRow>,
    pub jobs: Vec<JobRow>,
}

#[derive(Deserialize)]
struct TenantRow {
    id: TenantId,
    credits: i64,
    running: u32,
    today: u32,
    discovered_today: u32,
}

#[derive(Deserialize)]
struct LedgerRow {
    tenant: TenantId,
    kind: String,
    amount: i64,
    job: Option<JobId>,
    round: Option<i32>,
}

#[derive(Deserialize)]
pub struct JobRow {
    pub id: JobId,
    tenant: TenantId,
    parent: Option<JobId>,
    origin: Origin,
    kind: Kind,
    lane: Lane,
    state: JobState,
    username: String,
    price: i64,
    round: i32,
    attempt: i32,
    failures: i32,
    progress: i16,
    open: Option<i16>,
    token: Option<i64>,
    pub leader: Option<JobId>,
    started: bool,
    discarded: bool,
    output: bool,
    events: Vec<(i64, String, i16)>,
}

/// Numbers of the ids in the database.
#[derive(Default)]
pub struct Names {
    pub tenants: Vec<TenantId>,
    pub jobs: BTreeMap<JobId, Number>,
    pub tokens: BTreeMap<i64, ClaimNumber>,
}

impl Names {
    fn tenant(&self, id: TenantId) -> String {
        self.tenants.iter().position(|other| *other == id).map_or_else(|| id.to_string(), |n| format!("tenant {n}"))
    }

    fn job(&self, id: JobId) -> String {
        self.jobs.get(&id).map_or_else(|| id.to_string(), |n| format!("job {n}"))
    }

    fn token(&self, token: i64) -> String {
        self.tokens.get(&token).map_or_else(|| format!("token {token}"), |n| format!("claim {n}"))
    }
}

/// One line for each row. The lines are equal if and only if the contents are equal.
type Lines = Vec<String>;

impl Tables {
    pub fn lines(&self, names: &Names) -> Lines {
        let tenants = self
            .tenants
            .iter()
            .map(|t| tenant_line(&names.tenant(t.id), t.credits, t.running, t.today, t.discovered_today));
        let ledger = self.ledger.iter().map(|l| {
            let of = l.job.map(|job| (names.job(job), l.round.unwrap_or_default()));
            ledger_line(&names.tenant(l.tenant), &l.kind, l.amount, of.as_ref())
        });
        let jobs = self.jobs.iter().map(|j| {
            // The first event has no row.
            let numbered: Vec<_> = (2..).zip(&j.events).map(|(n, (seq, ..))| (n, *seq)).collect();
            let gaps = if numbered.iter().all(|(n, seq)| n == seq) { "" } else { ", events with gaps" };
            let events: Vec<_> = j.events.iter().map(|(_, state, progress)| (state.as_str(), *progress)).collect();
            let parent = j.parent.map(|parent| names.job(parent));
            let token = j.token.map(|token| names.token(token));
            let leader = j.leader.map(|leader| names.job(leader));
            format!(
                "{} of {}: {:?} {} {} '{}' price {} round {} {:?}, parent {parent:?}, attempt {}, failures {}, progress {}, open {:?}, \
                 held by {token:?}, started {}, follows {leader:?}, discarded {}, output {}, events {events:?}{gaps}",
                names.job(j.id), names.tenant(j.tenant), j.origin, j.kind, j.lane, j.username, j.price, j.round, j.state,
                j.attempt, j.failures, j.progress, j.open, j.started, j.discarded, j.output,
            )
        });
        sorted(tenants.chain(ledger).chain(jobs))
    }
}

impl Reference {
    pub fn lines(&self) -> Lines {
        let mut lines = Vec::new();
        for (number, t) in self.tenants.iter().enumerate() {
            let name = format!("tenant {number}");
            lines.push(tenant_line(&name, t.credits, t.running, t.today, t.discovered_today));
            lines.extend(t.ledger.iter().map(|entry| {
                let kind = match entry.reason {
                    Reason::Grant => "grant",
                    Reason::Charge => "charge",
                    Reason::Refund => "refund",
                };
                ledger_line(
                    &name,
                    kind,
                    entry.amount,
                    entry.of.map(|(job, round)| (format!("job {job}"), round)).as_ref(),
                )
            }));
        }
        lines.extend(self.jobs.iter().map(|(number, job)| job_line(*number, job)));
        sorted(lines.into_iter())
    }
}

fn job_line(number: Number, j: &Job) -> String {
    let parent = j.parent.map(|parent| format!("job {parent}"));
    let token = j.held.map(|claim| format!("claim {claim}"));
    let leader = j.leader.filter(|_| !j.ended()).map(|leader| format!("job {leader}"));
    let open = (!j.ended()).then_some(j.open);
    format!(
        "job {number} of tenant {}: {:?} {} {} '{}' price {} round {} {:?}, parent {parent:?}, attempt {}, failures {}, progress {}, open {open:?}, \
         held by {token:?}, started {}, follows {leader:?}, discarded {}, output {}, events {:?}",
        j.tenant,
        j.origin,
        j.kind,
        j.lane,
        j.username,
        j.price,
        j.round,
        j.state,
        j.attempt,
        j.failures,
        j.progress,
        j.started,
        j.discarded,
        j.output,
        j.events,
    )
}

fn tenant_line(name: &str, credits: i64, running: u32, today: u32, discovered: u32) -> String {
    format!("{name}: {credits} credits, {running} running, {today} today, {discovered} discovered today")
}

fn ledger_line(tenant: &str, kind: &str, amount: i64, of: Option<&(String, i32)>) -> String {
    format!("{tenant}'s ledger: {kind} {amount} of {of:?}")
}

fn sorted(lines: impl Iterator<Item = String>) -> Lines {
    let mut lines: Lines = lines.collect();
    lines.sort_unstable();
    lines
}

/// Lines that only one side has; `None` if both are equal.
pub fn difference(expected: &Lines, found: &Lines) -> Option<String> {
    if expected == found {
        return None;
    }
    let (left, right): (BTreeSet<_>, BTreeSet<_>) = (expected.iter().collect(), found.iter().collect());
    let missing = left.difference(&right).map(|line| format!("\n  expected: {line}"));
    let extra = right.difference(&left).map(|line| format!("\n  actual:   {line}"));
    let text: String = missing.chain(extra).collect();
    Some(if text.is_empty() { "\n  a line occurs more often on one side".to_owned() } else { text })
}
