//! The controllers against an API server that fails, call by call: they come to the same end, stop writing there, and do not run hot meanwhile.

mod fault;
mod leaders;
mod server;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use self::fault::{Fault, Harm, harms, is_write};
use self::server::Server;
use self::store::{Key, Store};
use futures::future::join;
use kube::Client;
use serde_json::{Value, json};
use switchyard_operator::{
    autoscaling::platform_client::PlatformClient,
    controllers::{context::Context, controller, health::Healths},
    kubernetes::{
        cache::store::WatchCache,
        client::with_limits,
        write_fence::{Fence, Moment},
    },
    telemetry::metrics::Metrics,
};
use tokio::time::{Instant, sleep};
use tower::service_fn;

/// Time enough to come to an end whatever goes wrong once.
const CONVERGED: Duration = Duration::from_secs(240);
/// Then at least one more look at everything.
const LATER: Duration = Duration::from_secs(400);

/// A text without what is random in it: digests of Secrets.
fn without_digests(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let digest =
            matches!(word.len(), 10 | 16) && word.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        out += if digest { "DIGEST" } else { &word };
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

fn key(plural: &str, name: &str) -> Key {
    (plural.to_owned(), "shop".to_owned(), name.to_owned())
}

/// What users made, and what an earlier spec left behind.
fn seed(store: &mut Store) {
    let custom = |kind: &str, spec: Value| json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": kind, "metadata": {}, "spec": spec});
    let spec = json!({"environment": "development", "api": {"scaling": {"min": 1, "max": 3}}});
    let made = store.create(&key("analyticsplatforms", "main"), custom("AnalyticsPlatform", spec));
    let uid = made.expect("nothing is there")["metadata"]["uid"].clone();
    let pool = json!({"platformRef": {"name": "main"}, "kind": "cdn", "scaling": {"min": 1, "max": 2}});
    store.create(&key("workerpools", "extra"), custom("WorkerPool", pool)).expect("nothing is there");
    let metadata = json!({
        "labels": {"app.kubernetes.io/managed-by": "switchyard", "switchyard.dev/platform": "main"},
        "ownerReferences": [{"apiVersion": "switchyard.dev/v1alpha1", "kind": "AnalyticsPlatform", "name": "main", "uid": uid, "controller": true}],
    });
    for (plural, name, version, kind) in [
        ("jobs", "main-setup-0123456789abcdef", "batch/v1", "Job"),
        ("poddisruptionbudgets", "main-old", "policy/v1", "PodDisruptionBudget"),
    ] {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": {}});
        store.create(&key(plural, name), object).expect("nothing is there");
    }
}

/// Everything but Events, without what differs from run to run.
fn objects(server: &Server) -> BTreeMap<String, String> {
    fn bare(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for field in [
                    "uid",
                    "resourceVersion",
                    "creationTimestamp",
                    "generation",
                    "observedGeneration",
                    "managedFields",
                    "lastTransitionTime",
                ] {
                    fields.remove(field);
                }
                fields.values_mut().for_each(bare);
            }
            Value::Array(items) => items.iter_mut().for_each(bare),
            _ => {}
        }
    }
    server.store(|store| {
        let of = store.objects.iter().filter(|(key, _)| key.0 != "events").map(|((plural, _, name), object)| {
            let mut object = object.clone();
            bare(&mut object);
            if plural == "secrets" {
                let keys: Vec<String> = object["data"].as_object().expect("data").keys().cloned().collect();
                object["data"] = json!(keys);
            }
            (without_digests(&format!("{plural}/{name}")), without_digests(&object.to_string()))
        });
        of.collect()
    })
}

/// What a condition of the resource says.
fn condition(server: &Server, plural: &str, name: &str, kind: &str) -> String {
    server.store(|store| {
        let conditions = store.objects[&key(plural, name)]["status"]["conditions"].clone();
        let found = conditions.as_array().into_iter().flatten().find(|one| one["type"] == kind).cloned();
        found.map_or_else(String::new, |one| {
            let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
            format!("{} {}: {}", text("status"), text("reason"), text("message"))
        })
    })
}

/// A cluster in which the operator runs and holds the lease.
async fn started(fault: Option<Fault>) -> Server {
    let server = Server::with(fault);
    server.store(seed);
    let fence = Fence::default();
    let transport = service_fn({
        let server = server.clone();
        move |request| server.clone().answer(request)
    });
    let client = Client::new(with_limits(transport, Some(fence.clone())), "default");
    let (cache, writers) = WatchCache::new();
    tokio::spawn({
        let (cache, client) = (cache.clone(), client.clone());
        async move { cache.run(&client, None, writers).await }
    });
    tokio::spawn(async move {
        cache.resync().await;
        let (platforms, pools) = cache.subscribe();
        let context = Context::new(
            client,
            cache,
            crate::common::images(),
            Metrics::default(),
            PlatformClient::new(),
            Healths::default(),
            "test",
        );
        join(controller::run(context.clone(), platforms), controller::run(context, pools)).await;
    });
    tokio::spawn(async move {
        loop {
            fence.renewed(Moment::now());
            sleep(Duration::from_secs(2)).await;
        }
    });
    server
}

/// What came of a scenario.
struct Outcome {
    objects: BTreeMap<String, String>,
    /// Calls until the end, by title, and calls after it.
    calls: BTreeMap<String, usize>,
    later: usize,
    /// Changes after the end, by plural.
    changed: Vec<String>,
    struck: usize,
}

impl Outcome {
    fn total(&self) -> usize {
        self.calls.values().sum()
    }
}

async fn run(fault: Option<Fault>) -> Outcome {
    let server = started(fault).await;
    sleep(CONVERGED).await;
    let (at, version, found) = (Instant::now(), server.store(|store| store.version()), objects(&server));
    sleep(LATER).await;
    let mut outcome = Outcome {
        objects: found,
        calls: BTreeMap::new(),
        later: 0,
        changed: server.store(|store| {
            let after = store.changes.iter().filter(|change| change.version > version);
            after
                .map(|change| {
                    format!(
                        "{} {}",
                        change.plural,
                        change.after.as_ref().map_or(&Value::Null, |o| &o["metadata"]["name"])
                    )
                })
                .collect()
        }),
        struck: server.struck(),
    };
    for call in server.calls() {
        if call.at <= at {
            *outcome.calls.entry(call.what).or_default() += 1;
        } else {
            outcome.later += 1;
        }
    }
    outcome
}

/// Runs what `work` makes in a world of its own, whose time passes as fast as there is nothing to do.
fn in_its_own_time<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

/// Tries each of `all`, as many at once as there are processors; answers with what `judge` found wrong.
fn each<T: Sync>(all: &[T], judge: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = judge(one) {
                        wrong.lock().expect("nobody panics with it").push(why);
                    }
                }
            });
        }
    });
    wrong.into_inner().expect("nobody panics with it")
}

/// Every call of a run without faults, from nothing to a platform that was looked at once more.
fn clean() -> Outcome {
    let outcome = in_its_own_time(run(None));
    assert_eq!(outcome.changed, Vec::<String>::new(), "writes after convergence without any fault");
    outcome
}

#[test]
fn without_a_fault_everything_comes_up_and_then_nothing_is_written() {
    let outcome = clean();
    let status =
        |name: &str| outcome.objects.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", outcome.objects.keys()));
    for name in ["main-general", "main-cdn", "main-discovery", "main-ai", "extra"] {
        assert!(status(&format!("workerpools/{name}")).contains(r#""reason":"Serving""#), "{name}");
        assert!(outcome.objects.contains_key(&format!("deployments/{name}")), "{name}");
    }
    assert!(status("analyticsplatforms/main").contains(r#""reason":"Serving""#));
    assert!(!outcome.objects.contains_key("poddisruptionbudgets/main-old"), "a leftover goes");
    assert_eq!(outcome.objects.keys().filter(|name| name.starts_with("jobs/")).count(), 1, "an older setup goes");
    println!(
        "{} kinds of calls, {} in all, and {} in {} s afterwards",
        outcome.calls.len(),
        outcome.total(),
        outcome.later,
        LATER.as_secs()
    );
}

#[test]
fn a_deployment_that_lost_its_labels_gets_them_back_and_keeps_the_pods_that_it_was_scaled_to() {
    in_its_own_time(async {
        let server = started(None).await;
        sleep(CONVERGED).await;
        let extra = key("deployments", "extra");
        let lost = json!({"spec": {"replicas": 2}, "metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
        server.store(|store| store.merge(&extra, &lost)).expect("it is there");
        sleep(Duration::from_secs(30)).await;
        let found = server.store(|store| store.objects[&extra].clone());
        assert_eq!(found["metadata"]["labels"]["app.kubernetes.io/managed-by"], "switchyard");
        assert_eq!(found["spec"]["replicas"], 2);

        // And whatever else somebody changes is set right, once.
        let main = key("configmaps", "main-api");
        let right = server.store(|store| store.objects[&main]["data"].clone());
        server.store(|store| store.merge(&main, &json!({"data": {"config.json": "{}"}}))).expect("it is there");
        server.store(|store| store.delete(&key("services", "main-api"), None)).expect("it is there");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(server.store(|store| store.objects[&main]["data"]["config.json"].clone()), right["config.json"]);
        assert!(server.store(|store| store.objects.contains_key(&key("services", "main-api"))));
        let version = server.store(|store| store.version());
        sleep(LATER).await;
        assert_eq!(server.store(|store| store.version()), version, "and then nothing is written");
    });
}

#[test]
fn whatever_call_fails_once_the_end_is_the_same_and_nothing_is_written_after_it() {
    let clean = clean();
    let faults: Vec<Fault> =
        clean.calls.keys().flat_map(|call| harms(call).into_iter().map(|harm| Fault::once(call, harm))).collect();
    let most = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wrong = each(&faults, |fault| {
        let outcome = in_its_own_time(run(Some(fault.clone())));
        most.0.fetch_max(outcome.total(), Ordering::Relaxed);
        most.1.fetch_max(outcome.later, Ordering::Relaxed);
        let say = |what: String| Err(format!("{fault:?}: {what}"));
        if outcome.struck == 0 {
            return say("it never struck".into());
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
        // A fault costs a few looks more at one object, and not one more once all is as it should be.
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
        LATER.as_secs(),
        clean.later
    );
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{}", wrong.len(), faults.len(), wrong.join("\n"));
}

/// A fault that never ends is watched for this long, of which the last half counts.
const FOR_EVER: Duration = Duration::from_secs(1800);

#[test]
fn a_fault_that_never_ends_is_told_and_tried_ever_more_rarely() {
    let clean = clean();
    // Every call is refused for good, and fails in one of the other ways.
    let others = [Harm::Answer(500), Harm::Answer(429), Harm::Answer(409), Harm::Silence { done: false }];
    let both = clean.calls.keys().zip(others.into_iter().cycle()).map(|(call, other)| {
        let refusal = Harm::Answer(if is_write(call) { 422 } else { 403 });
        [refusal, other].map(|harm| Fault::for_ever(call, harm))
    });
    let faults: Vec<Fault> = both.flatten().collect();
    let most = (AtomicUsize::new(0), Mutex::new(String::new()));
    let wrong = each(&faults, |fault| {
        let (rate, told) = in_its_own_time(async {
            let server = started(Some(fault.clone())).await;
            sleep(FOR_EVER).await;
            let half = Instant::now() - FOR_EVER / 2;
            let late: Vec<_> = server.calls().into_iter().filter(|call| call.at > half).collect();
            let names = ["main", "extra", "main-general", "main-cdn", "main-discovery", "main-ai"];
            let told = names.map(|name| {
                let plural = if name == "main" { "analyticsplatforms" } else { "workerpools" };
                if server.store(|store| store.objects.contains_key(&key(plural, name))) {
                    // What has a platform watched is no part of its being ready.
                    ["Ready", "Watched"].map(|kind| condition(&server, plural, name, kind)).join(" ")
                } else {
                    String::new()
                }
            });
            (late.len() * 60 / (FOR_EVER.as_secs() as usize / 2), told)
        });
        if most.0.fetch_max(rate, Ordering::Relaxed) < rate {
            *most.1.lock().expect("nobody panics with it") = format!("{fault:?}");
        }
        if rate > MOST_A_MINUTE {
            return Err(format!("{fault:?}: {rate} calls a minute"));
        }
        if tells(fault) && !told.iter().any(|text| text.contains("the server's own words")) {
            return Err(format!("{fault:?}: nobody is told: {told:?}"));
        }
        Ok(())
    });
    println!(
        "{} faults for ever, {} calls a minute at most after a quarter of an hour: {}",
        faults.len(),
        most.0.load(Ordering::Relaxed),
        most.1.lock().expect("nobody panics with it")
    );
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{}", wrong.len(), faults.len(), wrong.join("\n"));
}

/// Hardly more than without a fault, when each of a platform and its five pools is looked at every five minutes and its watches are renewed as often.
const MOST_A_MINUTE: usize = 120;

/// Whether the API server refuses for good something that a condition can tell of: not the status itself, nor what is only said or watched.
fn tells(fault: &Fault) -> bool {
    let said = fault.call.ends_with("/status") || fault.call.contains(" events") || fault.call.starts_with("watch");
    // These lists are the controllers' and the watches' alike.
    matches!(fault.harm, Harm::Answer(403 | 422)) && !said && (is_write(&fault.call) || fault.call.starts_with("get"))
}
