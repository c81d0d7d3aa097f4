//! The CRDs: they match the types, and the API server accepts them.

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

/// Calls `visit` with every schema below `schema` and its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&schema[inner], &format!("{path}.{inner}"), visit);
        }
    }
}

#[test]
fn crd_files_match_the_types() {
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
fn crds_are_small_enough_for_a_client_side_apply() {
    for document in documents().expect("the types serialize") {
        assert!(document.yaml.len() < SIZE_LIMIT, "{}: {} bytes", document.file, document.yaml.len());
        // `kubectl apply` stores the object in an annotation; the limit is that of all annotations.
        let crd: Value = serde_norway::from_str(&document.yaml).expect("it is YAML");
        let applied = serde_json::to_string(&crd).expect("JSON").len();
        assert!(applied < 262_144, "{}: {applied} bytes as JSON", document.file);
    }
}

#[test]
fn schemas_are_structural_and_every_field_is_documented() {
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
            #[expect(clippy::case_sensitive_file_extension_comparisons, reason = "a path in a schema, not a file")]
            let inner = path.ends_with("additionalProperties") || path.ends_with(".items");
            if !inner && !free && node["description"].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{path} has no description"));
            }
        });
        assert!(wrong.is_empty(), "{file}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn no_spec_field_has_a_default_that_a_pipeline_would_see_as_drift() {
    for (file, schema) in schemas() {
        walk(&schema["properties"]["spec"], "spec", &mut |path, node| {
            assert!(node.get("default").is_none(), "{file}: {path} has a default");
        });
    }
}

#[test]
fn the_only_default_is_the_observed_generation_of_an_unset_status() {
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
fn crds_are_annotated_against_pruning() {
    for document in documents().expect("the types serialize") {
        let crd: Value = serde_norway::from_str(&document.yaml).expect("it is YAML");
        let annotations = &crd["metadata"]["annotations"];
        assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false", "{}", document.file);
        assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled", "{}", document.file);
    }
}

#[test]
fn every_list_has_a_merge_strategy() {
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
fn fields_of_validation_rules_are_bounded() {
    // The API server estimates the cost of a rule from the longest value that the schema allows,
    // and refuses a CRD above its limit.
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
fn every_validation_rule_says_what_to_change() {
    for (file, schema) in schemas() {
        walk(&schema, "", &mut |path, node| {
            for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].as_str().is_some_and(|words| words.len() > 20), "{file}: {path}: {rule}");
            }
        });
    }
}
