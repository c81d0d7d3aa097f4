//! The components of a platform that conditions and problems refer to.

use std::fmt;

use crate::crd::conditions::ConditionType;

/// The subject of a condition or a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Component {
    Database,
    Broker,
    Cache,
    ObjectStore,
    ProfileSource,
    Api,
}

impl Component {
    /// The backing services, in the order in which the setup Job checks them.
    pub const BACKING: [Self; 4] = [Self::Database, Self::Broker, Self::Cache, Self::ObjectStore];

    /// The condition of the platform that reports it.
    pub const fn condition(self) -> ConditionType {
        match self {
            Self::Database => ConditionType::DatabaseReady,
            Self::Broker => ConditionType::BrokerReady,
            Self::Cache => ConditionType::CacheReady,
            Self::ObjectStore => ConditionType::ObjectStoreReady,
            Self::ProfileSource => ConditionType::ProfileSourceConfigured,
            Self::Api => ConditionType::Ready,
        }
    }

    /// Value of the component label of the bundled service, and suffix of the name of its Secret.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Broker => "broker",
            Self::Cache => "cache",
            Self::ObjectStore => "object-store",
            Self::ProfileSource => "profile-source",
            Self::Api => "api",
        }
    }

    /// The bundled service of it, for messages.
    pub const fn bundled(self) -> &'static str {
        match self {
            Self::Database => "the bundled PostgreSQL",
            Self::Broker => "the bundled RabbitMQ",
            Self::Cache => "the bundled Redis",
            Self::ObjectStore => "the bundled S3 server",
            Self::ProfileSource | Self::Api => "nothing",
        }
    }

    /// The backing service with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::BACKING.into_iter().find(|component| component.as_str() == name)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Database => "PostgreSQL",
            Self::Broker => "RabbitMQ",
            Self::Cache => "Redis",
            Self::ObjectStore => "the object store",
            Self::ProfileSource => "the profile source",
            Self::Api => "the API",
        })
    }
}
