//! Integration tests of the simulator.

mod scaling;
