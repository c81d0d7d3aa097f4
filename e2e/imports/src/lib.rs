//! The import graph of a Rust crate: which file uses names that another file defines.
//!
//! A name that is imported through a re-export counts for the file that defines it, so a `mod.rs`
//! that only re-exports its children makes no circle. Code under `#[cfg(test)]` is left out.
//!
//! Layers, top to bottom: [`graph`] finds circles, [`resolve`] finds the file of a name,
//! [`parse`] reads the files.

pub mod graph;
pub mod parse;
pub mod resolve;
