//! The workers against real servers on loopback.

mod analysis;
mod bucket;
mod images;
mod source;
mod standing_in;
mod support;
mod throttle;
