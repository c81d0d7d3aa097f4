//! Secrets: which there are, and what goes into those that the operator generates.

use std::collections::BTreeMap;

use rand::{Rng, distr::Alphanumeric};
use switchyard_contract::Role;

use super::{Component, settings::Settings};

/// The values of a Secret.
pub type Values = BTreeMap<String, Vec<u8>>;

/// Secrets by name; `None` where there is no such Secret.
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

/// A Secret that the operator generates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    pub name: String,
    /// Value of its component label.
    pub component: &'static str,
    pub values: Values,
}

/// The Secrets that the user names.
pub fn named(settings: &Settings) -> Vec<String> {
    use super::settings::Source::{Bundled, Named};
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

/// The Secrets that the operator generates for these settings, with fresh values. Only what does not exist yet is ever created from them.
pub fn generate(settings: &Settings, rng: &mut impl Rng) -> Vec<Generated> {
    let platform = &settings.name;
    let mut all = Vec::new();
    let mut bundled = |component: Component, values: &[(&str, String)]| {
        all.push(generated(bundled_secret(platform, component), component.as_str(), values));
    };
    if settings.database.is_bundled() {
        let password = random(rng);
        let uri = format!("postgres://postgres:{password}@{platform}-postgresql:5432/switchyard");
        bundled(Component::Database, &[("password", password), ("uri", uri.clone()), ("admin-uri", uri)]);
    }
    if settings.broker.is_bundled() {
        let password = random(rng);
        let uri = format!("amqp://switchyard:{password}@{platform}-rabbitmq:5672/%2f");
        bundled(Component::Broker, &[("username", "switchyard".into()), ("password", password), ("uri", uri)]);
    }
    if settings.cache.is_bundled() {
        let password = random(rng);
        let uri = format!("redis://:{password}@{platform}-redis:6379/0");
        bundled(Component::Cache, &[("password", password), ("uri", uri)]);
    }
    if settings.object_store.is_bundled() {
        bundled(Component::ObjectStore, &[("access-key", random(rng)), ("secret-key", random(rng))]);
    }
    let passwords: Vec<(&str, String)> = Role::ALL.iter().map(|role| (role.as_str(), random(rng))).collect();
    all.push(generated(roles_secret(platform), "database", &passwords));
    all.push(generated(admin_secret(platform), "api", &[("key", format!("sa_{}", random(rng)))]));
    all
}

fn generated(name: String, component: &'static str, values: &[(&str, String)]) -> Generated {
    let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into_bytes())).collect();
    Generated { name, component, values }
}

/// 32 letters and digits: more than 190 bits, and nothing that an address would have to escape.
fn random(rng: &mut impl Rng) -> String {
    (0..32).map(|_| char::from(rng.sample(Alphanumeric))).collect()
}
