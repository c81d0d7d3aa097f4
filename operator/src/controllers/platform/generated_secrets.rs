//! The Secrets that the operator generates.

use rand::{Rng, distr::Alphanumeric};
use switchyard_contract::Role;

use crate::spec::{
    component::Component,
    secrets::{Values, admin_secret, bundled_secret, roles_secret},
    settings::Settings,
};

/// A Secret that the operator generates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedSecret {
    /// Its name.
    pub name: String,
    /// Value of its component label.
    pub component: &'static str,
    /// Its keys and values.
    pub values: Values,
}

/// The Secrets that a platform with these settings needs, with new random values. The caller
/// creates only those that do not exist.
pub fn generate(settings: &Settings, rng: &mut impl Rng) -> Vec<GeneratedSecret> {
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

fn generated(name: String, component: &'static str, values: &[(&str, String)]) -> GeneratedSecret {
    let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into_bytes())).collect();
    GeneratedSecret { name, component, values }
}

/// 32 letters and digits: more than 190 bits of entropy, and nothing to escape in a URL.
fn random(rng: &mut impl Rng) -> String {
    (0..32).map(|_| char::from(rng.sample(Alphanumeric))).collect()
}
