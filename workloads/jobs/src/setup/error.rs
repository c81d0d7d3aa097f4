//! Errors of the setup.

use serde::{Deserialize, Serialize};

/// A part of the platform that the setup prepares or checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Component {
    Database,
    Broker,
    Cache,
    ObjectStore,
}

/// Why the setup failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{component:?}: {message}")]
pub struct SetupError {
    pub component: Component,
    /// States the cause and the remedy, for users. Contains no secret.
    pub message: String,
}

impl SetupError {
    /// Creates the error of one component.
    pub fn new(component: Component, message: impl Into<String>) -> Self {
        Self { component, message: message.into() }
    }
}
