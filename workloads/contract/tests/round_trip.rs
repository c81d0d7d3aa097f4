//! The operator writes what a workload reads.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use switchyard_contract::*;

fn config(workload: Workload) -> Config {
    Config {
        platform: Platform { namespace: "shop".into(), name: "main".into() },
        workload,
        database: Database {
            role: Role::Workers,
            pooler: Pooler::Transaction,
            connections: ConnectionPool {
                size: 4,
                overflow: 0,
                wait_timeout_seconds: 30,
                statement_timeout_seconds: 300,
            },
        },
        lanes: Lanes::default(),
        tiers: Tiers::default(),
        retry: Retry::default(),
        analysis: Analysis::default(),
        object_store: Some(ObjectStore {
            endpoint: "http://s3:7070".into(),
            bucket: "images".into(),
            region: "local".into(),
        }),
        profile_source: None,
        telemetry: None,
        recovery: Recovery::default(),
    }
}

fn write(root: &std::path::Path, text: &str) -> Mount {
    let mount = Mount::at(root);
    std::fs::create_dir_all(mount.config_path().parent().unwrap()).unwrap();
    std::fs::write(mount.config_path(), text).unwrap();
    mount
}

#[test]
fn config_round_trips_for_every_workload() {
    for workload in [
        Workload::Api,
        Workload::Setup { roles: vec![RoleGrant { role: Role::Api, connections: 150, statement_timeout_seconds: 10 }] },
        Workload::Pool { name: "ai".into(), kind: Kind::Ai, lanes: Lane::ALL.to_vec(), concurrency: 8 },
    ] {
        let written = config(workload);
        let folder = tempfile::tempdir().unwrap();
        let mount = write(folder.path(), &serde_json::to_string_pretty(&written).unwrap());
        assert_eq!(Config::load(&mount).unwrap(), written);
    }
}

#[test]
fn zero_overflow_is_omitted_and_read_back() {
    let written = serde_json::to_value(config(Workload::Api)).unwrap();
    let connections = &written["database"]["connections"];
    assert!(connections.get("overflow").is_none(), "{connections}");
    let read: ConnectionPool = serde_json::from_value(connections.clone()).unwrap();
    assert_eq!((read.overflow, read.total()), (0, 4));
}

#[test]
fn unknown_field_is_refused_by_name() {
    let mut document = serde_json::to_value(config(Workload::Api)).unwrap();
    document["lanez"] = serde_json::json!({});
    let folder = tempfile::tempdir().unwrap();
    let error = Config::load(&write(folder.path(), &document.to_string())).unwrap_err().to_string();
    assert!(error.contains("lanez") && error.contains("config.json"), "{error}");
}

#[test]
fn missing_secret_names_its_key_and_newline_is_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::at(folder.path());
    let error = mount.secret(files::BROKER_URI).unwrap_err().to_string();
    assert!(error.contains("no key 'uri'"), "{error}");

    std::fs::create_dir_all(mount.secret_path(files::BROKER_URI).parent().unwrap()).unwrap();
    std::fs::write(mount.secret_path(files::BROKER_URI), "amqp://broker\n").unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&mount.secret(files::BROKER_URI).unwrap()), "amqp://broker");
}

#[test]
fn unknown_lane_lists_the_known_ones() {
    for lane in Lane::ALL {
        assert_eq!(lane.as_str().parse::<Lane>().unwrap(), *lane);
    }
    assert_eq!(
        "urgent".parse::<Lane>().unwrap_err().to_string(),
        "unknown lane 'urgent'; use one of: critical, high, normal, low"
    );
}

#[test]
fn default_limits_are_the_required_ones() {
    let lanes = [Lane::Critical, Lane::High, Lane::Normal, Lane::Low].map(|lane| {
        let LaneLimits { capacity, max_running, timeout_seconds } = *Lanes::default().get(lane);
        (capacity, max_running, timeout_seconds)
    });
    assert_eq!(lanes, [(50, 3, 30), (200, 5, 120), (500, 8, 300), (1000, 4, 600)]);
    let tiers = [Tier::Free, Tier::Standard, Tier::Premium, Tier::Enterprise].map(|tier| {
        let limits = *Tiers::default().get(tier);
        (limits.concurrent, limits.daily)
    });
    assert_eq!(tiers, [(2, Some(50)), (5, Some(500)), (10, Some(2000)), (20, None)]);
    assert_eq!(Retry::default().delays_seconds, [60, 120, 300]);
    assert_eq!(Retry::default().attempts(), 3);
}
