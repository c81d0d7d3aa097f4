//! Reads the modules of a crate and the paths that each of them uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Item, ItemUse, Macro, UseTree,
    visit::{self, Visit},
};

/// A path as it is written, for instance `["super", "budget", "Budget"]`.
pub type Segments = Vec<String>;

/// A module, named by its path below the crate's root; the root is empty.
#[derive(Debug, Default)]
pub struct Module {
    /// The file that holds it. An inline module shares the file of its parent.
    pub file: PathBuf,
    pub children: BTreeSet<String>,
    /// Names of the items that it defines.
    pub items: BTreeSet<String>,
    /// Names that it imports, with what they stand for.
    pub imports: BTreeMap<String, Segments>,
    /// Paths of its `use …::*`.
    pub globs: Vec<Segments>,
    /// All other paths in its code.
    pub paths: BTreeSet<Segments>,
}

/// The modules of one compilation target.
#[derive(Debug, Default)]
pub struct Modules(pub BTreeMap<Segments, Module>);

/// Reads the target whose root file is `root`, for instance `src/lib.rs`.
///
/// # Errors
/// A file cannot be read or is not Rust, or a `mod name;` has no file.
pub fn target(root: &Path) -> Result<Modules> {
    let mut modules = Modules::default();
    let folder = root.parent().unwrap_or(Path::new("")).to_owned();
    file(&mut modules, Vec::new(), root, &folder)?;
    Ok(modules)
}

/// Reads the module `name` from `path`; its children's files lie in `folder`.
fn file(modules: &mut Modules, name: Segments, path: &Path, folder: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parsed = syn::parse_file(&text).with_context(|| format!("{} is not Rust", path.display()))?;
    items(modules, name, path, folder, &parsed.items)
}

fn items(modules: &mut Modules, name: Segments, path: &Path, folder: &Path, items: &[Item]) -> Result<()> {
    let mut module = Module { file: path.to_owned(), ..Module::default() };
    for item in items.iter().filter(|item| !is_test(attributes(item))) {
        match item {
            Item::Mod(child) => {
                let ident = child.ident.to_string();
                module.children.insert(ident.clone());
                let child_name = [name.as_slice(), std::slice::from_ref(&ident)].concat();
                let child_folder = folder.join(&ident);
                if let Some((_, content)) = &child.content {
                    self::items(modules, child_name, path, &child_folder, content)?;
                } else {
                    let candidates = [folder.join(format!("{ident}.rs")), child_folder.join("mod.rs")];
                    let Some(found) = candidates.iter().find(|candidate| candidate.is_file()) else {
                        bail!("{}: module '{ident}' has no file", path.display());
                    };
                    file(modules, child_name, found, &child_folder)?;
                }
            }
            other => {
                module.items.extend(defined(other));
                Paths(&mut module).visit_item(other);
            }
        }
    }
    modules.0.insert(name, module);
    Ok(())
}

/// Whether an item exists in tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item adds to its module.
fn defined(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Collects imports and paths into a module.
struct Paths<'a>(&'a mut Module);

impl Paths<'_> {
    fn import(&mut self, tree: &UseTree, before: &mut Segments) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before);
                before.pop();
            }
            UseTree::Name(name) if name.ident == "self" => self.add(before.last().cloned(), before.clone()),
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                let path = [before.as_slice(), std::slice::from_ref(&name)].concat();
                self.add(Some(name), path);
            }
            UseTree::Rename(rename) => {
                let mut path = before.clone();
                if rename.ident != "self" {
                    path.push(rename.ident.to_string());
                }
                // `use path::Trait as _` adds no name, but is an import.
                let name = (rename.rename != "_").then(|| rename.rename.to_string());
                self.add(name, path);
            }
            UseTree::Glob(_) => self.0.globs.push(before.clone()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before);
                }
            }
        }
    }

    fn add(&mut self, name: Option<String>, path: Segments) {
        match name {
            Some(name) => drop(self.0.imports.insert(name, path)),
            None => drop(self.0.paths.insert(path)),
        }
    }

    /// Paths among the tokens of a macro call, which are not parsed: `a::b::C`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Segments = Vec::new();
        let mut colons = 0;
        let end = |path: &mut Segments, into: &mut BTreeSet<Segments>| {
            let path = std::mem::take(path);
            if path.len() > 1 {
                into.insert(path);
            }
        };
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        end(&mut path, &mut self.0.paths);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                TokenTree::Group(group) => {
                    end(&mut path, &mut self.0.paths);
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    end(&mut path, &mut self.0.paths);
                    colons = 0;
                }
            }
        }
        end(&mut path, &mut self.0.paths);
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // An absolute `::name` is another crate.
        if path.leading_colon.is_none() && segments.len() > 1 {
            self.0.paths.insert(segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
