//! Plans without a cluster, for an empty namespace. Pure.
//!
//! Assumes that every referenced Secret that is not among the documents exists and is valid.

use std::collections::BTreeMap;

use anyhow::bail;
use kube::ResourceExt;
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    controllers::platform::{generated_secrets::generate, input::PlatformInput, observed::Observed},
    crd::{AnalyticsPlatform, WorkerPool},
    preview::{
        difference::Change,
        documents::Documents,
        outcome::{Outcome, PLANNED, Planned, whole},
    },
    resources::owner::Owner,
    spec::{
        images::Images,
        secrets::{Secrets, Values, named},
        settings::{Settings, Source},
    },
};

/// Plans the documents for an empty cluster.
///
/// # Errors
/// The platform of a pool is not among the documents.
pub fn outcome(documents: &Documents, namespace: &str, images: &Images) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let namespace_of = |named: Option<String>| named.unwrap_or_else(|| namespace.to_owned());
    let key = |pool: &WorkerPool| (namespace_of(pool.namespace()), pool.spec.platform_ref.name.clone());
    for pool in &documents.pools {
        let (namespace, platform) = key(pool);
        let there = |p: &AnalyticsPlatform| p.name_any() == platform && namespace_of(p.namespace()) == namespace;
        if !documents.platforms.iter().any(there) {
            bail!(
                "WorkerPool {}: there is no AnalyticsPlatform {platform} of namespace {namespace} in the files: add its file, or omit --offline",
                pool.name_any()
            );
        }
    }
    for platform in &documents.platforms {
        let namespace = namespace_of(platform.namespace());
        let pools = documents.pools.iter().filter(|pool| key(pool) == (namespace.clone(), platform.name_any()));
        let (input, assumed) = input(platform, &namespace, documents);
        outcome.assumed.extend(assumed);
        let whole = whole(input, pools.cloned().collect(), images, |_| None, |_| Vec::new());
        let secrets = whole.input.to_generate.iter().map(|secret| Change::created(format!("Secret/{}", secret.name)));
        let changes = secrets.chain(whole.manifests.iter().map(|manifest| Change::created(manifest.title()))).collect();
        outcome.platforms.push(Planned {
            settings: whole.input.settings,
            budget: whole.budget,
            refused: whole.refused,
            manifests: whole.manifests,
            changes,
            pools: whole.input.pools,
        });
    }
    Ok(outcome)
}

fn input(platform: &AnalyticsPlatform, namespace: &str, documents: &Documents) -> (PlatformInput, Option<String>) {
    let name = platform.name_any();
    let settings = Settings::of(namespace, &name, &platform.spec);
    let mut stored = platform.clone();
    stored.metadata.namespace = Some(namespace.to_owned());
    stored.metadata.uid = Some(PLANNED.to_owned());
    let owner = Owner::of(&stored, &name).expect("it has an identity");
    // Deterministic, since the digests are in the pod templates.
    let to_generate = generate(&settings, &mut StdRng::seed_from_u64(0));
    let mut secrets: BTreeMap<_, _> = to_generate.iter().map(|g| (g.name.clone(), Some(g.values.clone()))).collect();
    let placeholders = placeholders(&settings);
    let mut assumed = Vec::new();
    for secret in named(&settings) {
        let values = documents.secret(namespace, &secret).cloned().unwrap_or_else(|| {
            assumed.push(secret.clone());
            placeholders.get(&secret).cloned().unwrap_or_default()
        });
        secrets.insert(secret, Some(values));
    }
    let assumption = (!assumed.is_empty())
        .then(|| format!("these Secrets exist in namespace {namespace} and are valid: {}", assumed.join(", ")));
    let input = PlatformInput {
        settings,
        owner,
        secrets: Secrets(secrets),
        to_generate,
        pools: Vec::new(),
        observed: Observed::default(),
    };
    (input, assumption)
}

/// Valid placeholder values, by the name of the Secret.
fn placeholders(settings: &Settings) -> BTreeMap<String, Values> {
    let mut all: BTreeMap<String, Values> = BTreeMap::new();
    let mut add = |secret: &str, values: &[(&str, &str)]| {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        all.entry(secret.to_owned()).or_default().extend(values);
    };
    if let Source::Named(secret) = &settings.database {
        add(
            secret,
            &[
                ("uri", "postgres://user@database.example.org/platform"),
                ("admin-uri", "postgres://admin@database.example.org/platform"),
            ],
        );
    }
    if let Source::Named(secret) = &settings.broker {
        add(secret, &[("uri", "amqp://user@broker.example.org")]);
    }
    if let Source::Named(secret) = &settings.cache {
        add(secret, &[("uri", "redis://cache.example.org")]);
    }
    if let Source::Named(store) = &settings.object_store {
        add(&store.secret_ref.name, &[("access-key", "-"), ("secret-key", "-")]);
    }
    if let Some(source) = &settings.profile_source {
        add(&source.secret, &[("token", "-")]);
    }
    all
}
