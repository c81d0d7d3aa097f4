//! `environment-variables.md`: the variables that the programs read.

use anyhow::ensure;
use clap::{Arg, Command};

use crate::markdown::{Page, codes, sentence};

/// A variable that a program reads without clap.
struct Variable {
    name: &'static str,
    programs: &'static [&'static str],
    /// Empty if there is none.
    default: &'static str,
    meaning: &'static str,
}

const OPERATOR: &str = "switchyard-operator";
const API: &str = "switchyard-api";
const WORKER: &str = "switchyard-worker";
const AI: &str = "switchyard-ai";
const WORKLOADS: &[&str] = &[API, WORKER, AI];

/// Variables that are no options of a command line. A test compares them with the source.
const OTHERS: &[Variable] = &[
    Variable {
        name: "RUST_LOG",
        programs: &[OPERATOR],
        default: switchyard_operator::run::LOG_FILTER,
        meaning: "Level of the log, in the syntax of tracing-subscriber's `EnvFilter`. The chart sets it to `logFilter`.",
    },
    Variable {
        name: "RUST_LOG",
        programs: WORKLOADS,
        default: switchyard_jobs::service::telemetry::LOG_FILTER,
        meaning: "Level of the log, in the syntax of tracing-subscriber's `EnvFilter`.",
    },
    Variable {
        name: switchyard_contract::files::ROOT_ENV,
        programs: WORKLOADS,
        default: switchyard_contract::files::ROOT,
        meaning: "Folder of the mounted configuration and Secrets.",
    },
    Variable {
        name: switchyard_api::termination::LOG_ENV,
        programs: &[API],
        default: switchyard_api::termination::DEFAULT_LOG,
        meaning: "File for the error with which the setup or the server ends.",
    },
    Variable {
        name: "HOSTNAME",
        programs: WORKLOADS,
        default: "",
        meaning: "Name of this instance in traces and in the list of workers. Kubernetes sets it to the name of the pod. \
                  Without it the programs use their process id.",
    },
    Variable {
        name: "KUBECONFIG",
        programs: &[OPERATOR],
        default: "~/.kube/config",
        meaning: "Kubeconfig of the cluster. In a pod without one, the operator uses the service account.",
    },
    Variable {
        name: "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        programs: WORKLOADS,
        default: "",
        meaning: "Headers of the requests to the trace collector, as `name=value` pairs separated by commas. The \
                  OpenTelemetry library reads it.",
    },
    Variable {
        name: "OTEL_EXPORTER_OTLP_HEADERS",
        programs: WORKLOADS,
        default: "",
        meaning: "The same, if `OTEL_EXPORTER_OTLP_TRACES_HEADERS` is not set.",
    },
    Variable {
        name: "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        programs: WORKLOADS,
        default: "",
        meaning: "Not supported. Leave it unset, or the export of traces does not start.",
    },
    Variable {
        name: "OTEL_EXPORTER_OTLP_COMPRESSION",
        programs: WORKLOADS,
        default: "",
        meaning: "Not supported. Leave it unset, or the export of traces does not start.",
    },
];

/// The page.
///
/// # Errors
/// An option has no help text.
pub fn page() -> anyhow::Result<Page> {
    let mut page = Page::new(
        "environment-variables.md",
        "Environment variables",
        "This page lists every environment variable that a program reads, with its default and its meaning.",
    );
    page.paragraph(
        "The operator and the chart set what a deployment needs. To set another variable of the API or of a worker, \
         use `podTemplate` of the [AnalyticsPlatform](analytics-platform.md) or the [WorkerPool](worker-pool.md). Each \
         variable with an option can also be given on the command line, where the option takes precedence. See \
         [run in production](../how-to/production.md).",
    );
    page.heading(2, "API and workers");
    page.paragraph("Every program of a platform reads these.");
    for variable in OTHERS.iter().filter(|variable| variable.programs == WORKLOADS) {
        other(&mut page, variable);
    }
    let programs = [
        (OPERATOR, "the operator", switchyard_operator::reference::command()),
        (API, "the API, and of the setup Job", switchyard_api::reference::command()),
        (WORKER, "a worker of kind general, cdn or discovery", switchyard_worker::reference::command()),
        (AI, "a worker of kind ai", switchyard_ai::reference::command()),
    ];
    for (name, what, mut command) in programs {
        command.build();
        page.heading(2, &format!("`{name}`"));
        page.paragraph(&format!("This program is the process of {what}."));
        for arg in options(&command) {
            option(&mut page, arg)?;
        }
        let own = |variable: &&Variable| variable.programs.contains(&name) && variable.programs != WORKLOADS;
        for variable in OTHERS.iter().filter(own) {
            other(&mut page, variable);
        }
    }
    Ok(page)
}

fn other(page: &mut Page, variable: &Variable) {
    page.item(0, &format!("`{}`: {}", variable.name, variable.meaning));
    let default = if variable.default.is_empty() { "none".to_owned() } else { codes([variable.default]) };
    page.item(1, &format!("Default: {default}"));
}

/// The options of a command and its subcommands that a variable sets, each once.
fn options(command: &Command) -> Vec<&Arg> {
    let mut found: Vec<&Arg> = Vec::new();
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
            if !found.iter().any(|known| known.get_env() == arg.get_env()) {
                found.push(arg);
            }
        }
        commands.extend(command.get_subcommands());
    }
    found
}

fn option(page: &mut Page, arg: &Arg) -> anyhow::Result<()> {
    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    let name = arg.get_env().map(text).unwrap_or_default();
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    ensure!(!help.is_empty(), "the option of {name} has no help text");
    page.item(0, &format!("`{name}`: {}", sentence(&help)));
    let defaults: Vec<String> = arg.get_default_values().iter().map(|value| text(value)).collect();
    let default = match (defaults.is_empty(), arg.is_required_set()) {
        (false, _) => codes(defaults),
        (true, true) => "none; a value is required".to_owned(),
        (true, false) => "none".to_owned(),
    };
    page.item(1, &format!("Default: {default}"));
    let values: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !values.is_empty() {
        page.item(1, &format!("Values: {}", codes(values)));
    }
    if let Some(long) = arg.get_long() {
        page.item(1, &format!("Option: `--{long}`"));
    }
    Ok(())
}
