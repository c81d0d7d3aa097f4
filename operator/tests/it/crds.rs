//! The CRDs in the repository are those of the types, and such that the API server takes them and a person understands them.

use std::{fs, path::Path};

use serde_json::{Value, json};
use switchyard_operator::crd::generate::{SIZE_LIMIT, documents};

/// The schema of each version of each CRD.
fn schemas() -> Vec<(String, Value)> {
    documents()
        .expect("the types serialize")
        .into_iter()
        .map(|document| {
            let crd: Value = serde_norway::from_str(&document.yaml).expect("it is YAML");
            (document.file, crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
        })
        .collect()
}

/// Calls `look` with every schema below `schema` and its path.
fn walk(schema: &Value, path: &str, look: &mut impl FnMut(&str, &Value)) {
    look(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), look);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&schema[inner], &format!("{path}.{inner}"), look);
        }
    }
}

#[test]
fn the_files_are_those_of_the_types() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for document in documents().expect("the types serialize") {
        for folder in ["crds", "charts/switchyard/crds"] {
            let path = root.join(folder).join(&document.file);
            let file = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}: run 'make crds'", path.display()));
            assert!(file == document.yaml, "{} is not what the types say: run 'make crds'", path.display());
        }
    }
}

#[test]
fn each_is_small_enough_for_a_client_side_apply() {
    for document in documents().expect("the types serialize") {
        assert!(document.yaml.len() < SIZE_LIMIT, "{}: {} bytes", document.file, document.yaml.len());
        // What `kubectl apply` keeps in an annotation, whose limit is that of all annotations together.
        let crd: Value = serde_norway::from_str(&document.yaml).expect("it is YAML");
        let applied = serde_json::to_string(&crd).expect("JSON").len();
        assert!(applied < 262_144, "{}: {applied} bytes as JSON", document.file);
    }
}

#[test]
fn each_schema_is_structural_and_each_field_is_documented() {
    for (file, schema) in schemas() {
        let mut wrong = Vec::new();
        walk(&schema, "", &mut |path, node| {
            let free = node["x-kubernetes-int-or-string"] == true;
            if !free && !node["type"].is_string() {
                wrong.push(format!("{path} has no type"));
            }
            for keyword in ["oneOf", "anyOf", "allOf", "$ref", "nullable", "const"] {
                if node.get(keyword).is_some() {
                    wrong.push(format!("{path} has {keyword}"));
                }
            }
            let inner = path.ends_with("additionalProperties") || path.ends_with(".items");
            if !inner && !free && node["description"].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{path} has no description"));
            }
        });
        assert!(wrong.is_empty(), "{file}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn no_field_of_a_spec_has_a_default_since_a_pipeline_would_fight_it() {
    for (file, schema) in schemas() {
        walk(&schema["properties"]["spec"], "spec", &mut |path, node| {
            assert!(node.get("default").is_none(), "{file}: {path} has a default");
        });
    }
}

#[test]
fn a_status_that_nobody_has_written_has_observed_no_generation_and_nothing_else_has_a_default_above_it() {
    for (file, schema) in schemas() {
        let mut defaults = Vec::new();
        walk(&schema, "", &mut |path, node| {
            if let Some(default) = node.get("default").filter(|_| !path.starts_with(".status.")) {
                defaults.push((path.to_owned(), default.clone()));
            }
        });
        assert_eq!(defaults, [(".status".to_owned(), json!({"observedGeneration": -1}))], "{file}");
    }
}

#[test]
fn a_pipeline_that_takes_the_operator_away_leaves_the_definitions_and_so_every_platform() {
    for document in documents().expect("the types serialize") {
        let crd: Value = serde_norway::from_str(&document.yaml).expect("it is YAML");
        let annotations = &crd["metadata"]["annotations"];
        assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false", "{}", document.file);
        assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled", "{}", document.file);
    }
}

#[test]
fn every_list_says_how_it_is_merged() {
    for (file, schema) in schemas() {
        walk(&schema, "", &mut |path, node| {
            if node["type"] == "array" {
                let kind = node["x-kubernetes-list-type"].as_str().unwrap_or("nothing");
                assert!(["atomic", "set", "map"].contains(&kind), "{file}: {path} says {kind}");
            }
        });
    }
}

#[test]
fn what_a_rule_looks_at_is_bounded() {
    // The API server refuses a CRD whose rules could cost too much, and counts on the longest that the schema lets through.
    for (file, schema) in schemas() {
        walk(&schema["properties"]["spec"], "spec", &mut |path, node| {
            let ruled = node.get("x-kubernetes-validations").is_some();
            if ruled && node["type"] == "string" {
                assert!(node["maxLength"].is_number(), "{file}: {path} has a rule and no maxLength");
            }
            if node["type"] == "array" {
                assert!(node["maxItems"].is_number() || path.contains("resources"), "{file}: {path} has no maxItems");
            }
        });
    }
}

#[test]
fn every_rule_says_what_to_change() {
    for (file, schema) in schemas() {
        walk(&schema, "", &mut |path, node| {
            for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].as_str().is_some_and(|words| words.len() > 20), "{file}: {path}: {rule}");
            }
        });
    }
}
