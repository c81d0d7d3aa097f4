//! The output of `plan --offline`: presets, connection budget, created objects.

use switchyard_operator::{
    preview::{documents::Documents, offline, outcome::Outcome, report},
    spec::images::Images,
};

fn planned(text: &str) -> anyhow::Result<Outcome> {
    let mut documents = Documents::default();
    documents.add("text", text)?;
    offline::outcome(&documents, "shop", &Images::of_release())
}

fn report_of(text: &str) -> (String, bool) {
    let outcome = planned(text).expect("documents");
    (report::text(&outcome), outcome.is_refused())
}

fn platform(environment: &str, more: &str) -> String {
    let services = "database: {secretRef: {name: db}}\n  broker: {secretRef: {name: mq}}\n  cache: {secretRef: {name: redis}}\n  \
                    objectStore: {endpoint: https://s3.example.org, bucket: images, secretRef: {name: s3}}";
    let services = if environment == "development" { "" } else { services };
    format!(
        "apiVersion: switchyard.dev/v1alpha1\nkind: AnalyticsPlatform\nmetadata: {{name: main}}\nspec:\n  environment: {environment}\n  {services}\n  {more}\n"
    )
}

fn pool(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: switchyard.dev/v1alpha1\nkind: WorkerPool\nmetadata: {{name: {name}}}\nspec: {{platformRef: {{name: main}}, {spec}}}\n"
    )
}

#[test]
fn golden_presets() {
    for environment in ["development", "staging", "production"] {
        let (text, refused) = report_of(&platform(environment, ""));
        assert!(!refused, "{text}");
        insta::assert_snapshot!(environment, text);
    }
}

#[test]
fn golden_overrides_of_a_preset_and_a_pool_with_its_own_connections() {
    let own = platform("production", "api: {replicas: 2, resources: {requests: {cpu: '2'}}}\n  namespaceLimits: true")
        + &pool("gpu", "kind: ai, scaling: {min: 0, max: 4}, gpu: {count: 1}, connections: {size: 20, overflow: 5}");
    let (text, refused) = report_of(&own);
    assert!(!refused, "{text}");
    insta::assert_snapshot!("overrides", text);
}

#[test]
fn the_younger_of_two_pools_that_do_not_fit_is_refused() {
    let two = platform("production", "")
        + &pool("first", "kind: ai, replicas: 2, connections: {size: 100}")
        + &pool("second", "kind: ai, replicas: 2, connections: {size: 100}");
    let (text, refused) = report_of(&two);
    assert!(refused);
    assert!(
        text.contains("REFUSED WorkerPool second: spec.connections requests 100 connections, but the reserve has"),
        "{text}"
    );
    assert!(!text.contains("REFUSED WorkerPool first"), "{text}");

    let (text, refused) = report_of(&platform("production", "api: {connections: {size: 600}}"));
    assert!(refused && text.contains("REFUSED ConnectionBudget: allocations") && text.contains("of 500"), "{text}");
}

#[test]
fn a_given_secret_is_checked_and_not_printed() {
    let wrong =
        "---\napiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {uri: 'mysql://u:topsecret@h/d'}\n";
    let (text, refused) = report_of(&(platform("staging", "") + wrong));
    assert!(refused && text.contains("key uri of Secret db is no address of PostgreSQL"), "{text}");
    assert!(!text.contains("topsecret"), "{text}");
}

#[test]
fn a_pool_without_its_platform_is_refused() {
    let error = planned(&pool("alone", "kind: ai")).expect_err("no platform");
    assert!(error.to_string().contains("there is no AnalyticsPlatform main of namespace shop"), "{error}");
}
