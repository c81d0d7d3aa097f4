//! A summary of a plan: its objects, and its difference from the plan of another preset.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use switchyard_operator::{
    controllers::platform::plan::Plan, preview::difference::Change, resources::manifest::Manifest,
};

/// The objects of `plan`, and what differs from `previous`, a preset and its plan.
pub fn summary(plan: &Plan, (name, previous): (&str, &Plan)) -> String {
    let objects = objects(plan);
    let mut text = String::from("Objects:\n");
    for title in objects.keys() {
        let _ = writeln!(text, "  {title}");
    }
    let before = self::objects(previous);
    let _ = writeln!(text, "Difference from {name}:");
    for title in before.keys().filter(|title| !objects.contains_key(*title)) {
        let _ = writeln!(text, "  - {title}");
    }
    for (title, object) in &objects {
        match before.get(title) {
            None => drop(writeln!(text, "  + {title}")),
            Some(before) => {
                let change = Change::between(title.clone(), before, object);
                if change.is_one() {
                    let _ = writeln!(text, "  ~ {title}");
                }
                for field in change.fields {
                    let _ = writeln!(text, "      {field}");
                }
            }
        }
    }
    text
}

/// The applied objects by `Kind/name`. The digest in the name of the setup Job is left out, so that
/// the Jobs of two plans are compared.
fn objects(plan: &Plan) -> BTreeMap<String, Value> {
    let entry = |manifest: &Manifest| {
        let title = match &plan.setup_job {
            Some(job) => manifest.title().replace(job.as_str(), "main-setup-DIGEST"),
            None => manifest.title(),
        };
        (title, serde_json::to_value(&manifest.object).expect("JSON"))
    };
    plan.create.iter().chain(&plan.apply).map(entry).collect()
}
