//! Writes the configuration and secrets that the operator would mount into each workload.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use switchyard_contract::{Kind, Lane, LaneLimits, Lanes, Mount, Role, Tiers, files};

/// Bearer key of the admin API.
pub const ADMIN_KEY: &str = "the-admin-key-of-chaos";

/// Addresses of the servers.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The database as the workloads reach it.
    pub database: String,
    /// The database as its owner reaches it.
    pub database_admin: String,
    pub broker: String,
    pub cache: String,
}

/// Lane limits: timeouts of two or three seconds, and a low maxRunning, so that jobs compete for
/// it.
pub const fn lanes() -> Lanes {
    const fn lane(capacity: u32, max_running: u32, timeout_seconds: u64) -> LaneLimits {
        LaneLimits { capacity, max_running, timeout_seconds }
    }
    Lanes { critical: lane(12, 3, 2), high: lane(20, 5, 2), normal: lane(20, 6, 3), low: lane(20, 4, 3) }
}

/// Tier limits: the platform's defaults.
pub fn tiers() -> Tiers {
    Tiers::default()
}

/// The pools: name, kind and slots per process.
pub const POOLS: &[(&str, Kind, u32)] =
    &[("general", Kind::General, 8), ("cdn", Kind::Cdn, 4), ("discovery", Kind::Discovery, 4), ("ai", Kind::Ai, 4)];

/// The folder of a workload below `root`; `setup`, `api`, or a pool's name.
pub fn folder(root: &Path, workload: &str) -> PathBuf {
    root.join("mounts").join(workload)
}

/// Writes all mounts below `root`.
///
/// # Errors
/// A folder or a file cannot be written.
pub fn write(root: &Path, addresses: &Addresses) -> io::Result<()> {
    let grants: Vec<Value> = Role::ALL
        .iter()
        .map(|role| json!({ "role": role, "connections": 60, "statementTimeoutSeconds": 10 }))
        .collect();
    write_one(&folder(root, "setup"), addresses, Role::Api, &json!({ "type": "setup", "roles": grants }))?;
    write_one(&folder(root, "api"), addresses, Role::Api, &json!({ "type": "api" }))?;
    for (name, kind, concurrency) in POOLS {
        let workload =
            json!({ "type": "pool", "name": name, "kind": kind, "lanes": Lane::ALL, "concurrency": concurrency });
        write_one(&folder(root, name), addresses, kind.role(), &workload)?;
    }
    Ok(())
}

fn write_one(folder: &Path, addresses: &Addresses, role: Role, workload: &Value) -> io::Result<()> {
    let mount = Mount::at(folder);
    let document = json!({
        "platform": { "namespace": "chaos", "name": "chaos" },
        "workload": workload,
        "database": {
            "role": role,
            "pooler": "none",
            "connections": { "size": 6, "waitTimeoutSeconds": 2, "statementTimeoutSeconds": 10 },
        },
        "lanes": lanes(),
        "tiers": tiers(),
        "retry": { "delaysSeconds": [1, 1, 1] },
        // A short TTL, so that profiles are analysed again.
        "analysis": { "postsPerChunk": 5, "resultTtlSeconds": 1, "relatedProfiles": 2 },
    });
    put(&mount.config_path(), &document.to_string())?;
    let secret = |file, value: &str| put(&mount.secret_path(file), value);
    secret(files::DATABASE_URI, &addresses.database)?;
    secret(files::DATABASE_ADMIN_URI, &addresses.database_admin)?;
    secret(files::BROKER_URI, &addresses.broker)?;
    secret(files::CACHE_URI, &addresses.cache)?;
    secret(files::ADMIN_KEY, ADMIN_KEY)?;
    for role in Role::ALL {
        let file = files::SecretFile { group: files::DATABASE_ROLES_GROUP, key: role.as_str() };
        secret(file, &format!("password-of-{role}"))?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_contract::{Config, Workload};

    #[test]
    fn every_workload_loads_its_mount() {
        let root = tempfile::tempdir().unwrap();
        let text = |text: &str| text.to_owned();
        let addresses =
            Addresses { database: text("d"), database_admin: text("a"), broker: text("b"), cache: text("c") };
        write(root.path(), &addresses).unwrap();
        for (name, expected, _) in POOLS {
            let config = Config::load(&Mount::at(folder(root.path(), name))).unwrap();
            assert!(matches!(config.workload, Workload::Pool { kind, .. } if kind == *expected));
        }
        for name in ["setup", "api"] {
            Config::load(&Mount::at(folder(root.path(), name))).unwrap();
        }
    }
}
