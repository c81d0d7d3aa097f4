use crate::names;

names! {
    /// A database role. PostgreSQL itself keeps the workloads apart by these: connection limit, statement timeout, grants.
    Role, "database role", {
        Api = "analytics_api",
        Workers = "analytics_workers",
        AiWorkers = "analytics_ai_workers",
        Discovery = "analytics_discovery",
    }
}
