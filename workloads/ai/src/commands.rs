//! The commands that read texts and print answers, without a platform around them.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use switchyard_jobs::json::replace_lone_surrogates;

use crate::{
    Analyzer,
    evaluation::{Figures, Judged, Labelled, Sureness, report},
    model::{Encoder, Encoders, Folder, Provider, Runs},
    text,
};

/// Reads one text a line, as it stands or as JSON `{"text": …}`, and writes one JSON analysis a line. Bytes that are not UTF-8 are replaced.
pub fn classify(model: &Path, provider: Provider, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let mut analyzer = one(model, provider)?;
    for line in lines(input) {
        let said = analyzer.analyze(&[&line?])?;
        writeln!(output, "{}", serde_json::to_string(&said[0])?)?;
    }
    Ok(output.flush()?)
}

/// As [`classify`], writing `{"embedding": …}` with little-endian float32 numbers in base64: what heads are learnt from.
pub fn embed(model: &Path, provider: Provider, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let mut encoder = encoder(model, provider)?;
    for line in lines(input) {
        let embedding = encoder.embed(&[&text::normalise(&line?)])?.remove(0);
        let bytes: Vec<u8> = embedding.iter().flat_map(|value| value.to_le_bytes()).collect();
        writeln!(output, "{}", json!({ "embedding": STANDARD.encode(bytes) }))?;
    }
    Ok(output.flush()?)
}

/// As [`classify`], writing `{"tokens": […]}`: what the encoder reads of each text, and learns from.
pub fn tokens(model: &Path, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let encoder = encoder(model, Provider::Cpu)?;
    for line in lines(input) {
        writeln!(output, "{}", json!({ "tokens": encoder.tokens(&text::normalise(&line?))? }))?;
    }
    Ok(output.flush()?)
}

/// Compares the models with the labels in `file`; `as_json` ends the output with one line of JSON.
pub fn eval(
    model: &Path,
    provider: Provider,
    file: &Path,
    as_json: bool,
    mut output: impl Write,
) -> anyhow::Result<()> {
    let mut analyzer = one(model, provider)?;
    let input = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut judged = Vec::new();
    for (number, line) in BufReader::new(input).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let post: Labelled = serde_json::from_slice(&replace_lone_surrogates(line.as_bytes()))
            .with_context(|| format!("{}, line {}", file.display(), number + 1))?;
        judged.push(Judged::new(&post, &analyzer.details(&[&post.text])?[0]));
    }
    anyhow::ensure!(!judged.is_empty(), "{} holds no posts", file.display());
    let report = report(&judged);
    writeln!(output, "{} posts", judged.len())?;
    table(&mut output, "all", &report.all)?;
    for (language, figures) in &report.by_language {
        table(&mut output, language, figures)?;
    }
    if as_json {
        writeln!(output, "{}", serde_json::to_string(&report)?)?;
    }
    Ok(output.flush()?)
}

fn table(output: &mut impl Write, name: &str, figures: &Figures) -> std::io::Result<()> {
    let percent = |value: f64| format!("{:5.1} %", 100.0 * value);
    if let Some(sentiment) = &figures.sentiment {
        let [accuracy, f1, polarity] =
            [sentiment.accuracy, sentiment.macro_f1, sentiment.polarity_accuracy].map(percent);
        writeln!(
            output,
            "{name:>4}  sentiment  accuracy {accuracy}  macro-F1 {f1}  polarity {polarity}  of {}",
            sentiment.posts
        )?;
        writeln!(output, "                 right \\ said: negative, neutral, positive {:?}", sentiment.confusion)?;
        writeln!(output, "                 {}", sureness(&sentiment.sureness))?;
    }
    if let Some(topics) = &figures.topics {
        let [top1, coverage] = [topics.top1, topics.coverage_at_85].map(percent);
        writeln!(output, "{name:>4}  topics     top-1 {top1}  coverage at 85 % {coverage}  of {}", topics.posts)?;
        writeln!(output, "                 {}", sureness(&topics.sureness))?;
    }
    if let Some(language) = &figures.language {
        writeln!(output, "{name:>4}  language   accuracy {}  of {}", percent(language.accuracy), language.posts)?;
    }
    Ok(())
}

fn sureness(sureness: &Sureness) -> String {
    let percent = |value: f64| format!("{:.1} %", 100.0 * value);
    let curve = sureness.coverage_curve.iter().map(|(part, right)| format!("{}: {}", percent(*part), percent(*right)));
    let curve: Vec<_> = curve.collect();
    format!("accuracy of the surest {}; calibration error {}", curve.join(", "), percent(sureness.calibration_error))
}

/// Finds out where the model runs and writes one line of JSON: `wanted`, `on`, and why where they differ. Writes it to `report` as well where that file is
/// there: a container that starts before the worker so tells the operator.
pub fn provider(model: &Path, wanted: Provider, report: &Path, mut output: impl Write) -> anyhow::Result<()> {
    let Encoders { runs, .. } = Encoder::load(&Folder::open(model)?, 1, wanted)?;
    // The kubelet reads 4 KiB of it.
    let reason = runs.reason.map(|reason| reason.chars().take(1_000).collect::<String>());
    let line = json!({ "wanted": runs.wanted.as_str(), "on": runs.on.as_str(), "reason": reason }).to_string();
    if report.exists() {
        std::fs::write(report, &line).with_context(|| format!("cannot write {}", report.display()))?;
    }
    Ok(writeln!(output, "{line}")?)
}

fn one(model: &Path, provider: Provider) -> anyhow::Result<Analyzer> {
    let mut loaded = Analyzer::load(model, 1, provider)?;
    warn(&loaded.runs);
    loaded.analyzers.pop().context("no model")
}

fn encoder(model: &Path, provider: Provider) -> anyhow::Result<Encoder> {
    let mut loaded = Encoder::load(&Folder::open(model)?, 1, provider)?;
    warn(&loaded.runs);
    loaded.encoders.pop().context("no encoder")
}

fn warn(runs: &Runs) {
    if let Some(reason) = &runs.reason {
        eprintln!("switchyard-ai: runs on {}, not on {}: {reason}", runs.on, runs.wanted);
    }
}

/// The texts of lines that hold one each, as it stands or as JSON `{"text": …}`.
pub fn lines(input: impl BufRead) -> impl Iterator<Item = std::io::Result<String>> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    input.split(b'\n').map(|line| {
        let line = line?;
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
        Ok(serde_json::from_slice(&replace_lone_surrogates(text.as_bytes())).map_or(text, |line: Line| line.text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_or_json_and_never_fail() {
        let read: Vec<String> =
            lines(&b"plain\r\n{\"text\":\"two\\nlines\"}\n{\"other\":1}\n\xff\n{\"text\":\"\\ud83d half\"}"[..])
                .map(Result::unwrap)
                .collect();
        assert_eq!(read, ["plain", "two\nlines", "{\"other\":1}", "\u{fffd}", "\u{fffd} half"]);
    }
}
