//! Database roles of the workloads.

use crate::name::names;

names! {
    /// A database role. PostgreSQL enforces its connection limit, statement timeout and grants.
    Role, "database role", {
        Api = "analytics_api",
        Workers = "analytics_workers",
        AiWorkers = "analytics_ai_workers",
        Discovery = "analytics_discovery",
    }
}
