//! Checks that the Secrets have the keys that the workloads read. Pure.
//!
//! Messages never contain the value of a Secret.

use switchyard_contract::{Role, files};
use url::Url;

use crate::{
    crd::conditions::Reason,
    resources::pod::SecretMount,
    spec::{
        component::Component,
        secrets::{Secrets, Values, admin_secret, bundled_secret, roles_secret},
        settings::{Settings, Source},
    },
};

/// Schemes of a PostgreSQL URL, and an example for messages.
const POSTGRES: &[&str] = &["postgres", "postgresql"];
const POSTGRES_EXAMPLE: &str = "postgres://user:password@host:5432/database";

/// A problem that blocks a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The component whose condition reports it.
    pub component: Component,
    /// The reason of the condition.
    pub reason: Reason,
    /// What is wrong and how to correct it.
    pub message: String,
}

/// The keys of Secrets that workloads mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `uri`, and `replica-uris` and `ca.crt` if present.
    pub database: SecretMount,
    /// `admin-uri`, if present.
    pub database_admin: Option<SecretMount>,
    /// Passwords of the database roles. None without `admin-uri`: roles cannot be created then, and
    /// all workloads use the login of `uri`.
    pub roles: Option<SecretMount>,
    pub broker: SecretMount,
    pub cache: SecretMount,
    pub object_store: SecretMount,
    /// None if no profile source is configured or its Secret is not usable.
    pub profile_source: Option<SecretMount>,
    pub admin: SecretMount,
}

impl Credentials {
    /// The password of one role.
    pub fn role(&self, role: Role) -> Option<SecretMount> {
        self.roles.as_ref().map(|roles| SecretMount {
            values: roles
                .values
                .iter()
                .filter(|(key, _)| *key == role.as_str())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            ..roles.clone()
        })
    }
}

/// Checks all Secrets.
///
/// # Errors
/// All problems, except those of the profile source: see [`profile_source`].
pub fn read_credentials(settings: &Settings, secrets: &Secrets) -> Result<Credentials, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut take = |result: Result<SecretMount, Problem>| result.map_err(|problem| problems.push(problem)).ok();
    let name = |source: &Source<String>, component| match source {
        Source::Bundled => bundled_secret(&settings.name, component),
        Source::Named(name) => name.clone(),
    };

    let database = Reader::of(secrets, name(&settings.database, Component::Database), Component::Database);
    let optional = [files::DATABASE_REPLICA_URIS.key, files::DATABASE_CA.key];
    let uri = take(database.read("database", &[files::DATABASE_URI.key], &optional).and_then(|mount| {
        database.address(&mount, "uri", POSTGRES, POSTGRES_EXAMPLE)?;
        database.addresses(&mount, files::DATABASE_REPLICA_URIS.key, POSTGRES, POSTGRES_EXAMPLE)?;
        Ok(mount)
    }));
    let admin_uri = match database.values.filter(|values| values.get("admin-uri").is_some_and(|value| !blank(value))) {
        None => None,
        Some(_) => take(database.read("database", &["admin-uri"], &[]).and_then(|mount| {
            database.address(&mount, "admin-uri", POSTGRES, POSTGRES_EXAMPLE)?;
            Ok(mount)
        })),
    };
    let role_names: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
    let roles = Reader::of(secrets, roles_secret(&settings.name), Component::Database);
    let roles = take(roles.read(files::DATABASE_ROLES_GROUP, &role_names, &[]));

    let broker = Reader::of(secrets, name(&settings.broker, Component::Broker), Component::Broker);
    let broker = take(broker.read("broker", &["uri"], &[files::BROKER_CA.key]).and_then(|mount| {
        broker.address(&mount, "uri", &["amqp", "amqps"], "amqp://user:password@host:5672/vhost")?;
        Ok(mount)
    }));
    let cache = Reader::of(secrets, name(&settings.cache, Component::Cache), Component::Cache);
    let cache = take(cache.read("cache", &["uri"], &[files::CACHE_CA.key]).and_then(|mount| {
        cache.address(&mount, "uri", &["redis", "rediss"], "redis://:password@host:6379/0")?;
        Ok(mount)
    }));
    let store = match &settings.object_store {
        Source::Bundled => bundled_secret(&settings.name, Component::ObjectStore),
        Source::Named(store) => store.secret_ref.name.clone(),
    };
    let object_store = take(Reader::of(secrets, store, Component::ObjectStore).read(
        "object-store",
        &["access-key", "secret-key"],
        &[],
    ));
    let admin = take(Reader::of(secrets, admin_secret(&settings.name), Component::Api).read("admin", &["key"], &[]));

    match (uri, roles, broker, cache, object_store, admin) {
        (Some(database), Some(roles), Some(broker), Some(cache), Some(object_store), Some(admin))
            if problems.is_empty() =>
        {
            Ok(Credentials {
                database,
                roles: admin_uri.is_some().then_some(roles),
                database_admin: admin_uri,
                broker,
                cache,
                object_store,
                profile_source: profile_source(settings, secrets).ok(),
                admin,
            })
        }
        _ => Err(problems),
    }
}

/// The token of the profile source.
///
/// # Errors
/// The problem with it. The platform runs nevertheless, and its analyses fail permanently with a
/// reason.
pub fn profile_source(settings: &Settings, secrets: &Secrets) -> Result<SecretMount, Problem> {
    let Some(source) = &settings.profile_source else {
        return Err(Problem {
            component: Component::ProfileSource,
            reason: Reason::NotConfigured,
            message: "no profile source is configured, so every analysis fails: set spec.profileSource, with a Secret \
                      that has the key token"
                .into(),
        });
    };
    Reader::of(secrets, source.secret.clone(), Component::ProfileSource).read("profile-source", &["token"], &[])
}

/// Reads the Secret of one component.
struct Reader<'a> {
    secret: String,
    component: Component,
    values: Option<&'a Values>,
}

impl<'a> Reader<'a> {
    fn of(secrets: &'a Secrets, secret: String, component: Component) -> Self {
        let values = secrets.get(&secret);
        Self { secret, component, values }
    }

    fn problem(&self, reason: Reason, message: String) -> Problem {
        Problem { component: self.component, reason, message }
    }

    /// The keys `required`, which must have a value, and those of `optional` that exist.
    fn read(&self, group: &'static str, required: &[&str], optional: &[&str]) -> Result<SecretMount, Problem> {
        let Some(values) = self.values else {
            let keys = required.join(", ");
            return Err(self.problem(
                Reason::SecretMissing,
                format!("there is no Secret {}: create it with {} {keys}", self.secret, plural(required)),
            ));
        };
        let missing: Vec<&str> = required.iter().copied().filter(|key| !values.contains_key(*key)).collect();
        if !missing.is_empty() {
            let keys = missing.join(", ");
            return Err(self.problem(
                Reason::SecretKeyMissing,
                format!("Secret {} lacks {} {keys}: add it", self.secret, plural(&missing)),
            ));
        }
        if let Some(key) = required.iter().find(|key| values.get(**key).is_some_and(|value| blank(value))) {
            return Err(self.problem(
                Reason::SecretKeyEmpty,
                format!("key {key} of Secret {} is empty: give it a value", self.secret),
            ));
        }
        let desired = |key: &str| required.contains(&key) || optional.contains(&key);
        Ok(SecretMount {
            secret: self.secret.clone(),
            group,
            values: values.iter().filter(|(key, _)| desired(key)).map(|(k, v)| (k.clone(), v.clone())).collect(),
        })
    }

    /// Checks that the value is a URL with one of `schemes`.
    fn address(&self, mount: &SecretMount, key: &str, schemes: &[&str], example: &str) -> Result<(), Problem> {
        self.is_address(text(mount, key), key, schemes, example)
    }

    /// Checks each URL of an optional value, separated by commas or newlines.
    fn addresses(&self, mount: &SecretMount, key: &str, schemes: &[&str], example: &str) -> Result<(), Problem> {
        each_address(mount, key).try_for_each(|address| self.is_address(address, key, schemes, example))
    }

    fn is_address(&self, address: &str, key: &str, schemes: &[&str], example: &str) -> Result<(), Problem> {
        match Url::parse(address.trim()) {
            Ok(url) if schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty()) => Ok(()),
            _ => Err(self.problem(
                Reason::SecretInvalid,
                format!(
                    "key {key} of Secret {} is no address of {}: write it as {example}",
                    self.secret, self.component
                ),
            )),
        }
    }
}

/// The URLs in a value, which are separated by commas or newlines.
pub fn each_address<'a>(mount: &'a SecretMount, key: &str) -> impl Iterator<Item = &'a str> {
    text(mount, key).split([',', '\n']).filter(|address| !address.trim().is_empty())
}

/// The value of `key`; empty if it is missing or not UTF-8.
pub fn text<'a>(mount: &'a SecretMount, key: &str) -> &'a str {
    mount.values.get(key).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}

fn plural(keys: &[&str]) -> &'static str {
    if keys.len() == 1 { "the key" } else { "the keys" }
}

fn blank(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_whitespace)
}
