//! Finds the module that defines what a path names.

use crate::parse::{Modules, Segments};

/// Re-exports that lead on to further re-exports, before the search gives up.
const MAX_REEXPORTS: u8 = 16;

/// What a path names inside the crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A module itself.
    Module(Segments),
    /// An item that this module defines.
    ItemOf(Segments),
}

/// Resolves `path` as it stands in the code of `module`. `library` is the crate's own name, as its
/// programs use it. `None`: the path leads to another crate, or to a local name.
#[must_use]
pub fn resolve(modules: &Modules, module: &[String], path: &[String]) -> Option<Target> {
    from(modules, module, path, MAX_REEXPORTS)
}

fn from(modules: &Modules, module: &[String], path: &[String], depth: u8) -> Option<Target> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" | "$crate" => walk(modules, Vec::new(), rest, depth),
        "self" => walk(modules, module.to_vec(), rest, depth),
        "super" => {
            let (_, parent) = module.split_last()?;
            match rest.first().map(String::as_str) {
                Some("super") => from(modules, parent, rest, depth),
                _ => walk(modules, parent.to_vec(), rest, depth),
            }
        }
        _ => {
            let here = modules.0.get(module)?;
            let known = here.children.contains(first) || here.imports.contains_key(first) || here.items.contains(first);
            known.then(|| walk(modules, module.to_vec(), path, depth)).flatten()
        }
    }
}

/// Follows `path` from `module` downwards.
fn walk(modules: &Modules, mut module: Segments, path: &[String], depth: u8) -> Option<Target> {
    for (at, name) in path.iter().enumerate() {
        let here = modules.0.get(&module)?;
        if here.children.contains(name) {
            module.push(name.clone());
            continue;
        }
        if here.items.contains(name) || depth == 0 {
            return Some(Target::ItemOf(module));
        }
        if let Some(import) = here.imports.get(name) {
            // What a name stands for, and what follows it. An import never names itself.
            let full = [import.as_slice(), &path[at + 1..]].concat();
            let own = import.first() == Some(name);
            return if own { None } else { from(modules, &module, &full, depth - 1) };
        }
        let globs = here.globs.iter().filter_map(|glob| from(modules, &module, glob, depth - 1));
        for glob in globs {
            if let Target::Module(target) = glob
                && let Some(found) = modules.0.get(&target)
                && (found.items.contains(name) || found.imports.contains_key(name) || found.children.contains(name))
            {
                return walk(modules, target, &path[at..], depth - 1);
            }
        }
        // A macro's product, or another thing that only the compiler sees.
        return Some(Target::ItemOf(module));
    }
    Some(Target::Module(module))
}
