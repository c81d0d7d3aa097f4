//! The crates of this workspace.

use std::{
    fs,
    path::{Path, PathBuf},
};

use switchyard_imports::graph::Graph;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Root files of every library, program and test of the workspace.
fn roots() -> Vec<PathBuf> {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let mut roots = Vec::new();
    for member in members.split(',').map(|member| member.trim().trim_matches('"')).filter(|name| !name.is_empty()) {
        let folder = repository().join(member);
        roots.extend(["src/lib.rs", "src/main.rs"].map(|root| folder.join(root)).into_iter().filter(|r| r.is_file()));
        for entry in fs::read_dir(folder.join("tests")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let root = if path.is_dir() { path.join("main.rs") } else { path };
            if root.extension().is_some_and(|extension| extension == "rs") && root.is_file() {
                roots.push(root);
            }
        }
    }
    roots
}

#[test]
fn no_crate_has_a_circle_of_imports() {
    let roots = roots();
    assert!(roots.len() > 20, "found {} root files only", roots.len());
    let mut circles = Vec::new();
    for root in roots {
        let name = root.strip_prefix(repository()).unwrap().display().to_string();
        circles.extend(Graph::of(&root).unwrap().circles().into_iter().map(|circle| format!("{name}: {circle}")));
    }
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn operator_imports_point_downwards() {
    let graph = Graph::of(&repository().join("operator/src/lib.rs")).unwrap();
    let upward = graph.upward(&[
        &["reference.rs"],
        &["cli.rs"],
        &["run.rs", "preview"],
        &["controllers"],
        &["autoscaling"],
        &["kubernetes"],
        &["resources"],
        &["capacity"],
        &["spec"],
        &["crd", "telemetry"],
    ]);
    assert!(upward.is_empty(), "\n{}", upward.join("\n"));
}

#[test]
fn job_core_imports_point_downwards() {
    let graph = Graph::of(&repository().join("workloads/jobs/src/lib.rs")).unwrap();
    let upward = graph.upward(&[
        &["reference.rs"],
        &["setup", "runner", "testing"],
        &["maintenance.rs", "events.rs", "service"],
        &["announce.rs", "cache", "store"],
        &["broker"],
        &["resilience", "recovery.rs", "handler.rs"],
        &["trace", "json.rs"],
        &["model.rs"],
    ]);
    assert!(upward.is_empty(), "\n{}", upward.join("\n"));
}
