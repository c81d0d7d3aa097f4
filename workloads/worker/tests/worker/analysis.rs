//! An analysis from the profile to the result, with the child jobs run in this process.

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
    analysis::{Analyse, Source},
    discovery::Discover,
    images::{StoreImages, fetch, guard::Guard},
    metrics::Metrics,
};

use super::support::{asked, context, guarded, job, stand_in};

struct Workers {
    general: Analyse,
    cdn: StoreImages,
    discovery: Discover,
}

impl Workers {
    async fn start() -> Self {
        let endpoint = stand_in(Options::default()).await;
        let source = guarded(&endpoint, &redis().await.database(), SourceLimits::default());
        let fetcher = fetch::Fetcher::new(Guard::new(Some(&endpoint)), fetch::Limits::default()).expect("a fetcher");
        Self {
            general: Analyse::new(Source::Apify(source.profiles), Analysis::default(), 3),
            cdn: StoreImages::new(fetcher, None, Arc::new(Metrics::default())),
            discovery: Discover::new(Analysis::default()),
        }
    }

    /// What the child completes with; discovered usernames are collected.
    async fn child(&self, username: &str, child: &Child, discovered: &mut Vec<String>) -> Value {
        let claimed = job(child.kind, username, child.input.clone(), Step::Start);
        let (context, _) = context();
        let outcome = match child.kind {
            Kind::Ai => return classify(&child.input),
            Kind::Cdn => self.cdn.run(&claimed, &context).await,
            Kind::Discovery => self.discovery.run(&claimed, &context).await,
            Kind::General => panic!("an analysis under an analysis"),
        };
        match outcome.expect("the child completes") {
            Outcome::Complete(output) => output,
            Outcome::CompleteAndDiscover { output, usernames } => {
                discovered.extend(usernames);
                output
            }
            Outcome::Spawn { .. } | Outcome::CompleteForNow { .. } => panic!("what an analysis does: {child:?}"),
        }
    }

    /// Runs an analysis through both of its steps; the result and what was discovered.
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

/// What an ai worker would answer.
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
async fn an_analysis_has_everything_that_was_promised() {
    let (result, discovered) = Workers::start().await.analyse("anna", asked("anna")).await;
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
async fn missing_images_are_told_and_the_rest_is_there() {
    let (result, _) = Workers::start().await.analyse("noimage-anna", asked("noimage-anna")).await;
    for (index, post) in result["posts"].as_array().expect("posts").iter().enumerate() {
        let failed = |image: &Value| image["error"] == "not-found";
        assert_eq!(post["images"].as_array().expect("images").iter().all(failed), index % 2 == 1, "{post}");
    }
}

#[tokio::test]
async fn a_discovered_profile_does_not_discover_further() {
    let input = json!({"username": "anna", "origin": "discovery", "depth": 1});
    let (result, discovered) = Workers::start().await.analyse("anna", input).await;
    assert!(discovered.is_empty());
    assert_eq!(result["profile"]["discovered"], json!([]));
}

#[tokio::test]
async fn what_rules_had_a_part_in_is_corrected_without_fetching_anything_again() {
    let workers = Workers::start().await;
    let (at_once, _) = workers.analyse("anna", asked("anna")).await;
    let (context, _) = context();
    let by_rules = |mut output: Value| {
        output["model"] = json!({"name": "rules", "version": "1", "fallback": true});
        output
    };

    let start = job(Kind::General, "anna", asked("anna"), Step::Start);
    let Outcome::Spawn { kept, children, .. } = workers.general.run(&start, &context).await.expect("found") else {
        panic!("not fanned out");
    };
    let mut results = Vec::new();
    for child in &children {
        let output = workers.child("anna", child, &mut Vec::new()).await;
        let output = if child.kind == Kind::Ai { by_rules(output) } else { output };
        results.push(ChildResult { kind: child.kind, input: child.input.clone(), result: Ok(output) });
    }
    let joins = job(Kind::General, "anna", asked("anna"), Step::Join { kept, children: results });
    let Outcome::CompleteForNow { output, input, after } = workers.general.run(&joins, &context).await.expect("joins")
    else {
        panic!("it counts as done");
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
    assert_eq!(corrected, at_once);

    // A worker of an older version may answer by rules nevertheless: that is no reason to go on for ever.
    let results =
        results.into_iter().map(|child| ChildResult { result: child.result.map(by_rules), ..child }).collect();
    let joins = ClaimedJob { step: Step::Join { kept, children: results }, ..correction };
    assert!(matches!(workers.general.run(&joins, &context).await, Ok(Outcome::Complete(_))));
}

async fn refused(general: &Analyse, username: &str) -> JobError {
    let claimed = job(Kind::General, username, asked(username), Step::Start);
    general.run(&claimed, &context().0).await.expect_err("a failure")
}

#[tokio::test]
async fn an_unknown_profile_is_final() {
    let error = refused(&Workers::start().await.general, "missing-anna").await;
    assert_eq!((error.code.as_str(), error.permanent), ("profile-not-found", true));
}

#[tokio::test]
async fn a_platform_without_a_source_or_a_token_says_what_to_set() {
    for (source, code, hint) in [
        (Source::Missing, "profile-source-missing", "spec.profileSource"),
        (Source::WithoutToken, "profile-source-token", "'token'"),
    ] {
        let error = refused(&Analyse::new(source, Analysis::default(), 3), "anna").await;
        assert_eq!((error.code.as_str(), error.permanent), (code, true));
        assert!(error.message.contains(hint), "{error}");
    }
}

#[tokio::test]
async fn a_private_profile_has_a_result_without_a_model() {
    let (result, _) = Workers::start().await.analyse("private-anna", asked("private-anna")).await;
    assert_eq!((result["posts"].clone(), result["model"]["name"].clone()), (json!([]), json!("none")));
    assert_eq!(result["aggregate"]["engagement_rate"], 0.0);
}
