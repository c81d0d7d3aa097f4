//! ConfigMap with the configuration of a workload.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use switchyard_contract::{Config, files};

use crate::resources::owner::Owner;

/// The ConfigMap with the configuration document of a workload.
pub fn config_map(owner: &Owner, name: &str, component: &str, config: &Config) -> ConfigMap {
    ConfigMap {
        metadata: owner.meta(name, component),
        data: Some(BTreeMap::from([(files::CONFIG_KEY.to_owned(), document(config))])),
        ..ConfigMap::default()
    }
}

/// The configuration document as JSON text.
///
/// # Panics
/// Never: the contract's types always serialize.
pub fn document(config: &Config) -> String {
    serde_json::to_string_pretty(config).expect("the configuration is plain data")
}
