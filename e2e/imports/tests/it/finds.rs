//! The check on small crates whose circles are known.

use std::fs;

use switchyard_imports::graph::Graph;
use tempfile::TempDir;

/// A crate of these files; the first is its root.
fn graph(files: &[(&str, &str)]) -> (TempDir, Graph) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let graph = Graph::of(&folder.path().join(files[0].0)).unwrap();
    (folder, graph)
}

fn circles(files: &[(&str, &str)]) -> Vec<String> {
    graph(files).1.circles()
}

#[test]
fn circle_of_two_files_is_found() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B; pub fn f(_: &super::a::A) {}"),
    ]);
    assert_eq!(found, ["2 files import each other:\n  a.rs -> b.rs (crate::b::B)\n  b.rs -> a.rs (super::a::A)"]);
}

#[test]
fn circle_through_a_third_file_is_found_once() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("3 files"), "{found:?}");
}

#[test]
fn circle_through_a_glob_a_macro_or_an_alias_is_found() {
    let a = ("a.rs", "use crate::b::B; pub struct A; pub const N: u8 = 1;");
    for b in [
        "use crate::a::*; pub struct B;",
        "pub struct B; fn f() { println!(\"{}\", crate::a::N); }",
        "use crate::a as other; pub struct B; fn f() -> u8 { other::N }",
        "use super::{a::{self}}; pub struct B; fn f() -> u8 { a::N }",
    ] {
        let found = circles(&[("lib.rs", "mod a; mod b;"), a, ("b.rs", b)]);
        assert_eq!(found.len(), 1, "{b}");
    }
}

#[test]
fn circle_of_a_folder_and_its_child_is_found() {
    let found = circles(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod child; use child::Child; pub struct A(Child);"),
        ("a/child.rs", "use super::A; pub struct Child; fn f(_: A) {}"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn reexport_stands_for_the_file_that_defines_the_name() {
    let found = circles(&[
        ("lib.rs", "mod a; pub use a::{One, Two};"),
        ("a/mod.rs", "mod one; mod two; pub use one::One; pub use two::*;"),
        ("a/one.rs", "pub struct One;"),
        ("a/two.rs", "use super::One; pub struct Two(One); impl Two { fn f() { crate::One::default(); } }"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn code_of_tests_is_left_out() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn names_of_other_crates_are_left_out() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; use serde::Serialize; pub struct A;"),
        ("b.rs", "use ::a::A; use std::fmt; pub struct B; impl fmt::Display for B {}"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn import_from_a_lower_layer_into_a_higher_one_is_found() {
    let (_folder, graph) = graph(&[
        ("lib.rs", "mod high; mod low; mod new;"),
        ("high/mod.rs", "pub struct High;"),
        ("low.rs", "use crate::high::High; pub struct Low;"),
        ("new.rs", "use crate::low::Low;"),
    ]);
    let upward = graph.upward(&[&["high"], &["low.rs"]]);
    assert_eq!(upward, ["low.rs -> high/mod.rs (crate::high::High)", "new.rs is in no layer"]);
}
