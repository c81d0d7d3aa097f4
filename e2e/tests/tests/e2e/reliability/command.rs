//! Programs of this machine that inject faults: nsenter, kill, kubectl.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Adds or deletes (`verb`) a route in the pod of a process that drops packets to an address.
pub fn blackhole(verb: &str, process: &str, address: &str) -> Result<()> {
    run("nsenter", &["-t", process, "-n", "ip", "route", verb, "blackhole", address])
}

/// Sends a signal, for example `-STOP`, to processes.
pub fn send_signal(signal: &str, processes: &[String]) -> Result<()> {
    run("kill", &[&[signal], processes.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat())
}

/// Runs a program on this machine; an error if it fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Runs a kubectl command (`verb`) for every node.
pub fn for_each_node(verb: &str) -> Result<()> {
    let program = std::env::var("SWITCHYARD_E2E_KUBECTL").context("SWITCHYARD_E2E_KUBECTL")?;
    let nodes = Command::new(&program).args(["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]).output()?;
    for node in String::from_utf8(nodes.stdout)?.split_whitespace() {
        run(&program, &[verb, node])?;
    }
    Ok(())
}
