//! `docs/reference` is what the generator writes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use switchyard_reference::{
    defaults, differences,
    markdown::{Page, WIDTH},
    pages, schema,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(file: &str) -> String {
    let pages = pages(&root()).expect("the pages are generated");
    pages.iter().find(|page| page.file == file).map(Page::text).expect("there is such a page")
}

#[test]
fn reference_is_up_to_date() {
    let pages = pages(&root()).expect("the pages are generated");
    let found = differences(&pages, &root().join("docs/reference"));
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn folder_has_no_other_page() {
    let generated: BTreeSet<String> =
        pages(&root()).expect("the pages are generated").iter().map(|page| page.file.to_owned()).collect();
    let stored: BTreeSet<String> = fs::read_dir(root().join("docs/reference"))
        .expect("the folder exists")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(stored, generated);
}

#[test]
fn no_line_is_too_long() {
    for page in pages(&root()).expect("the pages are generated") {
        for line in page.text().lines().filter(|line| !line.trim_start().starts_with("http")) {
            assert!(line.chars().count() <= WIDTH, "{}: {line}", page.file);
        }
    }
}

/// The Rust files below a folder, without those for tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if !path.ends_with("testing") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The strings in the programs that consist of `is_part` and begin with `prefix`.
fn strings(prefix: &str, is_part: fn(char) -> bool) -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in [
        "operator/src",
        "workloads/api/src",
        "workloads/jobs/src",
        "workloads/worker/src",
        "workloads/ai/src",
        "workloads/contract/src",
    ] {
        sources(&root().join(folder), &mut files);
    }
    let mut found = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).expect("a text file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (start, _) in code.match_indices(&format!("\"{prefix}")) {
            let string = code[start + 1..].split('"').next().unwrap_or_default();
            if string.chars().all(is_part) {
                found.insert(string.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_variable_of_the_source_is_listed() {
    let page = page("environment-variables.md");
    let mut names = strings("SWITCHYARD_", |char| char.is_ascii_uppercase() || char == '_');
    names.extend(strings("HOSTNAME", |char| char.is_ascii_uppercase() || char == '_'));
    names.extend(strings("POD_NAME", |char| char.is_ascii_uppercase() || char == '_'));
    assert!(names.len() > 30, "{names:?}");
    let missing: Vec<&String> = names.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "environment-variables.md lacks {missing:?}: list them in its module");
}

#[test]
fn every_metric_name_of_the_source_is_listed() {
    let page = page("metrics.md");
    let names = strings("switchyard_", |char| char.is_ascii_lowercase() || char == '_');
    assert!(names.len() > 40, "{names:?}");
    // Names of libraries, which are no metrics.
    let others = ["switchyard_api", "switchyard_worker", "switchyard_operator", "switchyard_ai", "switchyard_jobs"];
    let missing: Vec<&String> =
        names.iter().filter(|name| !others.contains(&name.as_str()) && !page.contains(&format!("`{name}"))).collect();
    assert!(missing.is_empty(), "metrics.md lacks {missing:?}: create a series in a function `sample`");
}

#[test]
fn described_default_is_the_computed_one() {
    for (plural, defaults) in [
        ("analyticsplatforms", defaults::platform().expect("defaults")),
        ("workerpools", defaults::pool().expect("defaults")),
    ] {
        let definition = schema::definition(plural).expect("a definition");
        let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut paths = BTreeSet::new();
        check("spec", spec, &defaults, &mut paths);
        let unknown: Vec<&String> = defaults.keys().filter(|path| !paths.contains(*path)).collect();
        assert!(unknown.is_empty(), "{plural} has no fields {unknown:?}");
    }
}

fn check(path: &str, schema: &serde_json::Value, defaults: &defaults::Defaults, paths: &mut BTreeSet<String>) {
    let Some(object) = schema::object(schema) else { return };
    for field in schema::fields(object) {
        let full = format!("{path}.{}", field.name);
        let described = schema::description(field.schema);
        let inner = if field.schema["type"] == "array" { format!("{full}[]") } else { full.clone() };
        check(&inner, field.schema, defaults, paths);
        if schema::object(field.schema).is_none() && described.contains("Defaults to") {
            let default = defaults.get(&full).map_or("", String::as_str);
            assert!(!default.is_empty(), "no default of {full} is computed");
            if let Some(value) = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
                let is_known = described.contains(value) || value == "critical, high, normal, low";
                assert!(is_known || value.starts_with("https://github.com"), "{full}: {described} but {default}");
            }
        }
        paths.insert(full);
    }
}
