//! `switchyard-bench`: measures Switchyard beside what people use today.

fn main() {}
