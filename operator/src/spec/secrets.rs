//! The Secrets of a platform: names and values.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;

use crate::{
    crd::AnalyticsPlatform,
    spec::{component::Component, settings::Settings},
};

/// The values of a Secret.
pub type Values = BTreeMap<String, Vec<u8>>;

/// Secrets by name; `None` if a Secret does not exist.
#[derive(Debug, Clone, Default)]
pub struct Secrets(pub BTreeMap<String, Option<Values>>);

impl Secrets {
    /// The values of the Secret `name`, if it exists.
    pub fn get(&self, name: &str) -> Option<&Values> {
        self.0.get(name).and_then(Option::as_ref)
    }
}

/// Name of the generated Secret of a bundled service.
pub fn bundled_secret(platform: &str, component: Component) -> String {
    format!("{platform}-{}", component.as_str())
}

/// Name of the Secret with the passwords of the database roles.
pub fn roles_secret(platform: &str) -> String {
    format!("{platform}-database-roles")
}

/// Name of the Secret with the admin key.
pub fn admin_secret(platform: &str) -> String {
    format!("{platform}-admin")
}

/// The Secrets that the spec references, sorted.
pub fn named(settings: &Settings) -> Vec<String> {
    use crate::spec::settings::Source::{Bundled, Named};
    let mut names = Vec::new();
    for source in [&settings.database, &settings.broker, &settings.cache] {
        if let Named(name) = source {
            names.push(name.clone());
        }
    }
    match &settings.object_store {
        Named(store) => names.push(store.secret_ref.name.clone()),
        Bundled => {}
    }
    names.extend(settings.profile_source.iter().map(|source| source.secret.clone()));
    names.sort();
    names.dedup();
    names
}

/// Every Secret that a platform reads.
pub fn secrets_of(platform: &AnalyticsPlatform) -> BTreeSet<String> {
    let name = platform.name_any();
    let settings = Settings::of(&platform.namespace().unwrap_or_default(), &name, &platform.spec);
    let own = Component::BACKING.map(|component| bundled_secret(&name, component));
    named(&settings).into_iter().chain(own).chain([roles_secret(&name), admin_secret(&name)]).collect()
}
