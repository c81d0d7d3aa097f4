//! The workers against real servers on loopback.

mod analysis;
mod images;
mod source;
mod support;
