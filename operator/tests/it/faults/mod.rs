//! The controllers against an API server that fails, call by call. They converge to the same
//! objects, then stop writing, and do not retry in a hot loop.

mod candidates;
mod cluster;
mod digest;
mod fault;
mod leaders;
mod network;
mod scenario;
mod server;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep};

use self::{
    cluster::{assert_documented, condition, key, started},
    fault::{Fault, FaultKind, fault_kinds, is_write},
    scenario::{CONVERGENCE_TIME, Outcome, QUIET_TIME, each, in_simulated_time, run},
};

/// A run without faults.
fn clean() -> Outcome {
    let outcome = in_simulated_time(run(None));
    assert_eq!(outcome.changed, Vec::<String>::new(), "writes after convergence without any fault");
    outcome
}

#[test]
fn without_faults_everything_is_ready_and_then_nothing_is_written() {
    let outcome = clean();
    let status =
        |name: &str| outcome.objects.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", outcome.objects.keys()));
    for name in ["main-general", "main-cdn", "main-discovery", "main-ai", "extra"] {
        assert!(status(&format!("workerpools/{name}")).contains(r#""reason":"Serving""#), "{name}");
        assert!(outcome.objects.contains_key(&format!("deployments/{name}")), "{name}");
    }
    assert!(status("analyticsplatforms/main").contains(r#""reason":"Serving""#));
    assert!(!outcome.objects.contains_key("poddisruptionbudgets/main-old"), "orphans are pruned");
    assert_eq!(
        outcome.objects.keys().filter(|name| name.starts_with("jobs/")).count(),
        1,
        "an older setup Job is pruned"
    );
    println!(
        "{} kinds of calls, {} in all, and {} in {} s afterwards",
        outcome.calls.len(),
        outcome.total(),
        outcome.later,
        QUIET_TIME.as_secs()
    );
}

#[test]
fn manual_changes_are_reverted_except_scaled_replicas() {
    in_simulated_time(async {
        let server = started(None).await;
        sleep(CONVERGENCE_TIME).await;
        let extra = key("deployments", "extra");
        let lost = json!({"spec": {"replicas": 2}, "metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
        server.store(|store| store.merge(&extra, &lost)).expect("it exists");
        sleep(Duration::from_secs(30)).await;
        let found = server.store(|store| store.objects[&extra].clone());
        assert_eq!(found["metadata"]["labels"]["app.kubernetes.io/managed-by"], "switchyard");
        assert_eq!(found["spec"]["replicas"], 2);

        // Any other manual change is reverted, once.
        let main = key("configmaps", "main-api");
        let right = server.store(|store| store.objects[&main]["data"].clone());
        server.store(|store| store.merge(&main, &json!({"data": {"config.json": "{}"}}))).expect("it exists");
        server.store(|store| store.delete(&key("services", "main-api"), None)).expect("it exists");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(server.store(|store| store.objects[&main]["data"]["config.json"].clone()), right["config.json"]);
        assert!(server.store(|store| store.objects.contains_key(&key("services", "main-api"))));
        let version = server.store(|store| store.version());
        sleep(QUIET_TIME).await;
        assert_eq!(server.store(|store| store.version()), version, "then nothing is written");
    });
}

#[test]
fn one_failed_call_does_not_change_the_result() {
    let clean = clean();
    let faults: Vec<Fault> =
        clean.calls.keys().flat_map(|call| fault_kinds(call).into_iter().map(|kind| Fault::once(call, kind))).collect();
    let most = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = each(&faults, |fault| {
        let outcome = in_simulated_time(run(Some(fault.clone())));
        most.0.fetch_max(outcome.total(), Ordering::Relaxed);
        most.1.fetch_max(outcome.later, Ordering::Relaxed);
        let say = |what: String| Err(format!("{fault:?}: {what}"));
        if outcome.injected == 0 {
            return say("the fault was not injected".into());
        }
        if outcome.objects != clean.objects {
            let names = |all: &BTreeMap<String, String>| all.keys().cloned().collect::<BTreeSet<_>>();
            let (have, want) = (names(&outcome.objects), names(&clean.objects));
            let differ: Vec<_> =
                want.intersection(&have).filter(|name| outcome.objects[*name] != clean.objects[*name]).collect();
            let (missing, more): (Vec<_>, Vec<_>) =
                (want.difference(&have).collect(), have.difference(&want).collect());
            return say(format!("missing {missing:?}, too many {more:?}, different {differ:?}"));
        }
        if !outcome.changed.is_empty() {
            return say(format!("writes after convergence: {:?}", outcome.changed));
        }
        // A fault costs a few more reconciles of one resource, and none after convergence.
        if outcome.total() > clean.total() * 2 || outcome.later > clean.later * 2 {
            return say(format!(
                "{} calls and {} afterwards; {} and {} without",
                outcome.total(),
                outcome.later,
                clean.total(),
                clean.later
            ));
        }
        Ok(())
    });
    println!(
        "{} scenarios, {} calls each at most ({} without a fault), {} in {} s afterwards ({})",
        faults.len(),
        most.0.load(Ordering::Relaxed),
        clean.total(),
        most.1.load(Ordering::Relaxed),
        QUIET_TIME.as_secs(),
        clean.later
    );
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), faults.len(), failures.join("\n"));
}

/// Duration of a run with a permanent fault, of which the second half counts.
const PERMANENT_FAULT_TIME: Duration = Duration::from_mins(30);

#[test]
fn permanent_fault_is_reported_and_retried_with_backoff() {
    let clean = clean();
    // Every call is refused permanently, and in a second run fails in one of the other ways.
    let others = [
        FaultKind::Status(500),
        FaultKind::Status(429),
        FaultKind::Status(409),
        FaultKind::NoResponse { executed: false },
    ];
    let both = clean.calls.keys().zip(others.into_iter().cycle()).map(|(call, other)| {
        let refusal = FaultKind::Status(if is_write(call) { 422 } else { 403 });
        [refusal, other].map(|kind| Fault::permanent(call, kind))
    });
    let faults: Vec<Fault> = both.flatten().collect();
    let most = (AtomicUsize::new(0), Mutex::new(String::new()));
    let failures = each(&faults, |fault| {
        let (rate, conditions) = in_simulated_time(async {
            let server = started(Some(fault.clone())).await;
            sleep(PERMANENT_FAULT_TIME).await;
            let half = Instant::now() - PERMANENT_FAULT_TIME / 2;
            let late: Vec<_> = server.calls().into_iter().filter(|call| call.at > half).collect();
            let names = ["main", "extra", "main-general", "main-cdn", "main-discovery", "main-ai"];
            let conditions = names.map(|name| {
                let plural = if name == "main" { "analyticsplatforms" } else { "workerpools" };
                if server.store(|store| store.objects.contains_key(&key(plural, name))) {
                    assert_documented(plural, &server, name);
                    // Monitoring is not part of Ready.
                    ["Ready", "MonitoringConfigured"].map(|kind| condition(&server, plural, name, kind)).join(" ")
                } else {
                    String::new()
                }
            });
            let seconds = usize::try_from(PERMANENT_FAULT_TIME.as_secs()).expect("some minutes");
            (late.len() * 60 / (seconds / 2), conditions)
        });
        if most.0.fetch_max(rate, Ordering::Relaxed) < rate {
            *most.1.lock() = format!("{fault:?}");
        }
        if rate > MAX_CALLS_PER_MINUTE {
            return Err(format!("{fault:?}: {rate} calls a minute"));
        }
        if is_reported(fault) && !conditions.iter().any(|text| text.contains("injected status")) {
            return Err(format!("{fault:?}: not reported: {conditions:?}"));
        }
        Ok(())
    });
    println!(
        "{} permanent faults, {} calls a minute at most after a quarter of an hour: {}",
        faults.len(),
        most.0.load(Ordering::Relaxed),
        most.1.lock()
    );
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), faults.len(), failures.join("\n"));
}

/// Slightly more than without a fault: a platform and its five pools are reconciled every five
/// minutes, and the watches are restarted as often.
const MAX_CALLS_PER_MINUTE: usize = 120;

/// Whether a condition can report the fault: a permanent refusal of a read or write, except of the
/// status, of Events and of watches.
fn is_reported(fault: &Fault) -> bool {
    let is_exempt =
        fault.call.ends_with("/status") || fault.call.contains(" events") || fault.call.starts_with("watch");
    // Controllers and watches make the same lists.
    matches!(fault.kind, FaultKind::Status(403 | 422))
        && !is_exempt
        && (is_write(&fault.call) || fault.call.starts_with("get"))
}
