//! Imports between the files of a target, and the circles among them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    parse::{self, Modules},
    resolve::{Target, resolve},
};

/// For each file the files that define what it uses, each with one of the paths that it uses.
#[derive(Debug, Default)]
pub struct Graph(pub BTreeMap<PathBuf, BTreeMap<PathBuf, String>>);

impl Graph {
    /// The imports of the target whose root file is `root`. Files are named as they lie below the
    /// root's folder.
    ///
    /// # Errors
    /// As [`parse::target`].
    pub fn of(root: &Path) -> Result<Self> {
        let modules = parse::target(root)?;
        let folder = root.parent().unwrap_or(Path::new(""));
        let short = |file: &Path| file.strip_prefix(folder).unwrap_or(file).to_owned();
        let mut graph = Self::default();
        for (name, module) in &modules.0 {
            let imports = graph.0.entry(short(&module.file)).or_default();
            let globs = module.globs.iter().map(|glob| (glob, true));
            let paths = module.imports.values().chain(&module.paths).map(|path| (path, false));
            for (path, is_glob) in globs.chain(paths) {
                let Some(file) = file_of(&modules, name, path, is_glob) else { continue };
                if file != module.file {
                    imports.entry(short(&file)).or_insert_with(|| path.join("::"));
                }
            }
        }
        Ok(graph)
    }

    /// Groups of files that import each other, directly or through others; each a text that names
    /// its imports.
    #[must_use]
    pub fn circles(&self) -> Vec<String> {
        let mut left: BTreeSet<&Path> = self.0.keys().map(PathBuf::as_path).collect();
        let mut circles = Vec::new();
        while let Some(file) = left.pop_first() {
            let group: BTreeSet<&Path> =
                self.reached(file).into_iter().filter(|other| self.reached(other).contains(file)).collect();
            if !group.is_empty() {
                left.retain(|other| !group.contains(other));
                circles.push(self.describe(&group));
            }
        }
        circles
    }

    /// Imports that lead from one of `layers` to one above it. `layers` go from top to bottom; a
    /// layer is a list of files and folders that may import each other's files as long as they make
    /// no circle.
    #[must_use]
    pub fn upward(&self, layers: &[&[&str]]) -> Vec<String> {
        let layer = |file: &Path| layers.iter().position(|layer| layer.iter().any(|place| file.starts_with(place)));
        let mut upward = Vec::new();
        for (from, imports) in &self.0 {
            for (to, path) in imports {
                match (layer(from), layer(to)) {
                    (Some(above), Some(below)) if above <= below => {}
                    (Some(_), Some(_)) => upward.push(format!("{} -> {} ({path})", from.display(), to.display())),
                    (None, _) => upward.push(format!("{} is in no layer", from.display())),
                    (_, None) => upward.push(format!("{} is in no layer", to.display())),
                }
            }
        }
        upward
    }

    /// All files that `file` leads to.
    fn reached(&self, file: &Path) -> BTreeSet<&Path> {
        let mut reached = BTreeSet::new();
        let mut next = vec![file];
        while let Some(file) = next.pop() {
            for import in self.0.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(import.as_path()) {
                    next.push(import);
                }
            }
        }
        reached
    }

    fn describe(&self, group: &BTreeSet<&Path>) -> String {
        let mut text = format!("{} files import each other:", group.len());
        for from in group {
            for (to, path) in self.0.get(*from).into_iter().flatten().filter(|(to, _)| group.contains(to.as_path())) {
                text += &format!("\n  {} -> {} ({path})", from.display(), to.display());
            }
        }
        text
    }
}

/// The file that defines what `path` names. An import of a module is none of its file: what is used
/// through it is.
fn file_of(modules: &Modules, module: &[String], path: &[String], is_glob: bool) -> Option<PathBuf> {
    let target = match resolve(modules, module, path)? {
        Target::ItemOf(target) => target,
        Target::Module(target) if is_glob => target,
        Target::Module(_) => return None,
    };
    modules.0.get(&target).map(|module| module.file.clone())
}
