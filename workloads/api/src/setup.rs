//! The setup before the workloads start: it prepares database, queues, cache and bucket, or reports
//! what to fix.

use switchyard_contract::{
    Config, Mount,
    files::{OBJECT_STORE_ACCESS_KEY, OBJECT_STORE_SECRET_KEY},
};

use switchyard_jobs::setup::{self, Component};

use crate::object_store::{self, Keys};

/// The failure of a command of this program, for the termination message of the container.
#[derive(Debug)]
pub struct Failure {
    /// Stable: `configuration`, `database`, `broker`, `cache`, `object-store` or `api`.
    pub component: &'static str,
    /// The cause and its remedy; it holds no secret.
    pub message: String,
}

impl Failure {
    fn new(component: &'static str, message: &impl ToString) -> Self {
        Self { component, message: message.to_string() }
    }
}

/// Sets up every component. Safe to repeat.
///
/// # Errors
/// The first component that cannot be set up.
pub async fn run(mount: &Mount) -> Result<(), Failure> {
    let config = Config::load(mount).map_err(|error| Failure::new("configuration", &error))?;
    setup::run(&config, mount).await.map_err(|error| Failure::new(name(error.component), &error.message))?;
    if let Some(store) = &config.object_store {
        let secret = |file| mount.secret(file).map_err(|error| Failure::new("object-store", &error));
        let keys = Keys { access: secret(OBJECT_STORE_ACCESS_KEY)?, secret: secret(OBJECT_STORE_SECRET_KEY)? };
        object_store::ensure_bucket(store, &keys).await.map_err(|message| Failure::new("object-store", &message))?;
    }
    tracing::info!("database, queues, cache and bucket are ready");
    Ok(())
}

const fn name(component: Component) -> &'static str {
    match component {
        Component::Database => "database",
        Component::Broker => "broker",
        Component::Cache => "cache",
        Component::ObjectStore => "object-store",
    }
}
