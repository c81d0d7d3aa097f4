//! Secret with generated values.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};

use crate::resources::owner::Owner;

/// A Secret with generated values. It is created once and never changed.
pub fn secret(owner: &Owner, name: &str, component: &str, values: &BTreeMap<String, Vec<u8>>) -> Secret {
    Secret {
        metadata: owner.meta(name, component),
        type_: Some("Opaque".into()),
        data: Some(values.iter().map(|(key, value)| (key.clone(), ByteString(value.clone()))).collect()),
        ..Secret::default()
    }
}
