//! An analysis from the profile to the result, with the children run in this process.

use std::sync::Arc;

use serde_json::{Value, json};
use switchyard_apify_stand_in::Options;
use switchyard_contract::{Analysis, Kind, SourceLimits};
use switchyard_jobs::{
    handler::{Child, ChildResult, ClaimedJob, Handler, Outcome, Step},
    model::JobError,
    testing::redis,
};
use switchyard_worker::{
    analysis::{AnalysisHandler, Source},
    discovery::DiscoveryHandler,
    images::{ImageHandler, address_policy::AddressPolicy, fetcher},
    metrics::Metrics,
};

use super::support::{analysis_input, context, job, source, stand_in};

struct Workers {
    general: AnalysisHandler,
    cdn: ImageHandler,
    discovery: DiscoveryHandler,
}

impl Workers {
    async fn start() -> Self {
        let endpoint = stand_in(Options::default()).await;
        let source = source(&endpoint, &redis().await.database(), SourceLimits::default());
        let fetcher =
            fetcher::Fetcher::new(AddressPolicy::new(Some(&endpoint)), fetcher::Limits::default()).expect("a fetcher");
        Self {
            general: AnalysisHandler::new(Source::Apify(source.fetcher), Analysis::default(), 3),
            cdn: ImageHandler::new(fetcher, None, Arc::new(Metrics::default())),
            discovery: DiscoveryHandler::new(Analysis::default()),
        }
    }

    /// Runs a child and returns its output. Adds discovered usernames to `discovered`.
    async fn child(&self, username: &str, child: &Child, discovered: &mut Vec<String>) -> Value {
        let claimed = job(child.kind, username, child.input.clone(), Step::Start);
        let (context, _) = context();
        let outcome = match child.kind {
            Kind::Ai => return classify(&child.input),
            Kind::Cdn => self.cdn.run(&claimed, &context).await,
            Kind::Discovery => self.discovery.run(&claimed, &context).await,
            Kind::General => panic!("an analysis is a child of an analysis"),
        };
        match outcome.expect("the child completes") {
            Outcome::Complete(output) => output,
            Outcome::CompleteAndDiscover { output, usernames } => {
                discovered.extend(usernames);
                output
            }
            Outcome::Spawn { .. } | Outcome::CompleteForNow { .. } => panic!("not a child's outcome: {child:?}"),
        }
    }

    /// Runs both steps of an analysis; returns the result and the discovered usernames.
    async fn analyse(&self, username: &str, input: Value) -> (Value, Vec<String>) {
        let (context, reports) = context();
        let started = self.general.run(&job(Kind::General, username, input.clone(), Step::Start), &context).await;
        let (kept, children) = match started.expect("the profile is there") {
            Outcome::Spawn { kept, children, stage: "analysing" } => (kept, children),
            other => panic!("not fanned out: {other:?}"),
        };
        let mut discovered = Vec::new();
        let mut results = Vec::new();
        for child in &children {
            let output = self.child(username, child, &mut discovered).await;
            results.push(ChildResult { kind: child.kind, input: child.input.clone(), result: Ok(output) });
        }
        let join = Step::Join { kept, children: results };
        let joined = self.general.run(&job(Kind::General, username, input, join), &context).await;
        assert_eq!(reports.all().iter().map(|(_, stage)| stage.as_str()).collect::<Vec<_>>(), ["fetching", "joining"]);
        match joined.expect("joins") {
            Outcome::Complete(result) => (result, discovered),
            other => panic!("not complete: {other:?}"),
        }
    }
}

/// The output of an ai worker for `input`.
fn classify(input: &Value) -> Value {
    let posts = input["posts"].as_array().expect("posts").iter().map(|post| {
        assert!(post["id"].is_string() && post["text"].is_string());
        json!({
            "id": post["id"], "language": "en",
            "sentiment": {"label": "neutral", "score": 0.5}, "category": {"label": "arts_&_culture", "score": 0.4},
        })
    });
    json!({"model": {"name": "test", "version": "1", "fallback": false}, "posts": posts.collect::<Vec<_>>()})
}

#[tokio::test]
async fn analysis_result_is_complete() {
    let (result, discovered) = Workers::start().await.analyse("anna", analysis_input("anna")).await;
    assert_eq!(result["profile"]["username"], "anna");
    assert_eq!(result["profile"]["picture"]["format"], "jpeg");
    assert_eq!(result["model"], json!({"name": "test", "version": "1", "fallback": false}));
    assert!(result["aggregate"]["engagement_rate"].as_f64().is_some_and(|rate| rate > 0.0 && rate < 1.0));
    assert_eq!(result["aggregate"]["languages"], json!({"en": 1.0}));
    let posts = result["posts"].as_array().expect("posts");
    assert!(posts.len() >= 10);
    for post in posts {
        assert!(
            post["language"].is_string()
                && post["sentiment"]["label"].is_string()
                && post["category"]["score"].is_f64()
        );
        let images = post["images"].as_array().expect("images");
        assert!(!images.is_empty() && images.iter().all(|image| image["sha256"].is_string()), "{post}");
    }
    assert_eq!(discovered.len(), 2);
    assert_eq!(result["profile"]["discovered"], json!(discovered));
}

#[tokio::test]
async fn missing_images_are_reported_per_image() {
    let (result, _) = Workers::start().await.analyse("noimage-anna", analysis_input("noimage-anna")).await;
    for (index, post) in result["posts"].as_array().expect("posts").iter().enumerate() {
        let failed = |image: &Value| image["error"] == "not-found";
        assert_eq!(post["images"].as_array().expect("images").iter().all(failed), index % 2 == 1, "{post}");
    }
}

#[tokio::test]
async fn discovered_profile_does_not_discover_further() {
    let input = json!({"username": "anna", "origin": "discovery", "depth": 1});
    let (result, discovered) = Workers::start().await.analyse("anna", input).await;
    assert!(discovered.is_empty());
    assert_eq!(result["profile"]["discovered"], json!([]));
}

#[tokio::test]
async fn fallback_result_is_corrected_without_fetching_again() {
    let workers = Workers::start().await;
    let (expected, _) = workers.analyse("anna", analysis_input("anna")).await;
    let (context, _) = context();
    let as_fallback = |mut output: Value| {
        output["model"] = json!({"name": "rules", "version": "1", "fallback": true});
        output
    };

    let start = job(Kind::General, "anna", analysis_input("anna"), Step::Start);
    let Outcome::Spawn { kept, children, .. } = workers.general.run(&start, &context).await.expect("found") else {
        panic!("not fanned out");
    };
    let mut results = Vec::new();
    for child in &children {
        let output = workers.child("anna", child, &mut Vec::new()).await;
        let output = if child.kind == Kind::Ai { as_fallback(output) } else { output };
        results.push(ChildResult { kind: child.kind, input: child.input.clone(), result: Ok(output) });
    }
    let joins = job(Kind::General, "anna", analysis_input("anna"), Step::Join { kept, children: results });
    let Outcome::CompleteForNow { output, input, after } = workers.general.run(&joins, &context).await.expect("joins")
    else {
        panic!("not complete for now");
    };
    assert_eq!((&output["model"]["fallback"], after.as_secs()), (&json!(true), 120));

    let correction = ClaimedJob { corrects: true, ..job(Kind::General, "anna", input, Step::Start) };
    let Outcome::Spawn { kept, children, .. } = workers.general.run(&correction, &context).await.expect("begins")
    else {
        panic!("not fanned out");
    };
    assert!(children.iter().all(|child| child.kind == Kind::Ai && child.input["rules"] == false));
    let results: Vec<ChildResult> = children
        .iter()
        .map(|child| ChildResult { kind: child.kind, input: child.input.clone(), result: Ok(classify(&child.input)) })
        .collect();
    let joins = ClaimedJob { step: Step::Join { kept: kept.clone(), children: results.clone() }, ..correction.clone() };
    let Outcome::Complete(corrected) = workers.general.run(&joins, &context).await.expect("joins") else {
        panic!("not complete");
    };
    assert_eq!(corrected, expected);

    // A correction answered by rules again, as by an older worker, is final all the same.
    let results =
        results.into_iter().map(|child| ChildResult { result: child.result.map(as_fallback), ..child }).collect();
    let joins = ClaimedJob { step: Step::Join { kept, children: results }, ..correction };
    assert!(matches!(workers.general.run(&joins, &context).await, Ok(Outcome::Complete(_))));
}

async fn failure(general: &AnalysisHandler, username: &str) -> JobError {
    let claimed = job(Kind::General, username, analysis_input(username), Step::Start);
    general.run(&claimed, &context().0).await.expect_err("a failure")
}

#[tokio::test]
async fn unknown_profile_is_a_permanent_error() {
    let error = failure(&Workers::start().await.general, "missing-anna").await;
    assert_eq!((error.code.as_str(), error.permanent), ("profile-not-found", true));
}

#[tokio::test]
async fn missing_source_or_token_says_what_to_set() {
    for (source, code, hint) in [
        (Source::NotConfigured, "profile-source-missing", "spec.profileSource"),
        (Source::WithoutToken, "profile-source-token", "'token'"),
    ] {
        let error = failure(&AnalysisHandler::new(source, Analysis::default(), 3), "anna").await;
        assert_eq!((error.code.as_str(), error.permanent), (code, true));
        assert!(error.message.contains(hint), "{error}");
    }
}

#[tokio::test]
async fn private_profile_has_a_result_without_a_model() {
    let (result, _) = Workers::start().await.analyse("private-anna", analysis_input("private-anna")).await;
    assert_eq!((result["posts"].clone(), result["model"]["name"].clone()), (json!([]), json!("none")));
    assert_eq!(result["aggregate"]["engagement_rate"], 0.0);
}
