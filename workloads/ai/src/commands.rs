//! Commands that read texts and print answers, without a platform.

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
    analyzer::Analyzer,
    evaluation::{Confidence, Figures, Judgement, LabelledPost, report},
    model::{Encoder, Encoders, Folder, Placement, Provider},
    text,
};

/// Reads one text per line, plain or as JSON `{"text": …}`, and writes one JSON analysis per line.
/// Invalid UTF-8 is replaced.
///
/// # Errors
/// The model cannot be loaded or run, or reading or writing fails.
pub fn classify(model: &Path, provider: Provider, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let mut analyzer = load_analyzer(model, provider)?;
    for line in lines(input) {
        let analyses = analyzer.analyze(&[&line?])?;
        writeln!(output, "{}", serde_json::to_string(&analyses[0])?)?;
    }
    Ok(output.flush()?)
}

/// As [`classify`], but writes `{"embedding": …}`: little-endian float32 numbers in base64. Heads
/// are trained on it.
///
/// # Errors
/// As [`classify`].
pub fn embed(model: &Path, provider: Provider, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let mut encoder = load_encoder(model, provider)?;
    for line in lines(input) {
        let embedding = encoder.embed(&[&text::normalise(&line?)])?.remove(0);
        let bytes: Vec<u8> = embedding.iter().flat_map(|value| value.to_le_bytes()).collect();
        writeln!(output, "{}", json!({ "embedding": STANDARD.encode(bytes) }))?;
    }
    Ok(output.flush()?)
}

/// As [`classify`], but writes `{"tokens": […]}`: the token ids, on which the encoder is tuned.
///
/// # Errors
/// As [`classify`].
pub fn tokens(model: &Path, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let encoder = load_encoder(model, Provider::Cpu)?;
    for line in lines(input) {
        writeln!(output, "{}", json!({ "tokens": encoder.tokens(&text::normalise(&line?))? }))?;
    }
    Ok(output.flush()?)
}

/// Evaluates the model on the labelled posts of `file`. With `as_json` the last line is the
/// [`Report`](crate::evaluation::Report) as JSON.
///
/// # Errors
/// As [`classify`]; or `file` has no posts, or a line is invalid.
pub fn eval(
    model: &Path,
    provider: Provider,
    file: &Path,
    as_json: bool,
    mut output: impl Write,
) -> anyhow::Result<()> {
    let mut analyzer = load_analyzer(model, provider)?;
    let input = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut judgements = Vec::new();
    for (number, line) in BufReader::new(input).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let post: LabelledPost = serde_json::from_slice(&replace_lone_surrogates(line.as_bytes()))
            .with_context(|| format!("{}, line {}", file.display(), number + 1))?;
        judgements.push(Judgement::new(&post, &analyzer.analyze_detailed(&[&post.text])?[0]));
    }
    anyhow::ensure!(!judgements.is_empty(), "{} has no posts", file.display());
    let report = report(&judgements);
    writeln!(output, "{} posts", judgements.len())?;
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
        writeln!(output, "                 {}", confidence(&sentiment.confidence))?;
    }
    if let Some(topics) = &figures.topics {
        let [top1, coverage] = [topics.top1, topics.coverage_at_85].map(percent);
        writeln!(output, "{name:>4}  topics     top-1 {top1}  coverage at 85 % {coverage}  of {}", topics.posts)?;
        writeln!(output, "                 {}", confidence(&topics.confidence))?;
    }
    if let Some(language) = &figures.language {
        writeln!(output, "{name:>4}  language   accuracy {}  of {}", percent(language.accuracy), language.posts)?;
    }
    Ok(())
}

fn confidence(confidence: &Confidence) -> String {
    let percent = |value: f64| format!("{:.1} %", 100.0 * value);
    let curve =
        confidence.coverage_curve.iter().map(|(part, right)| format!("{}: {}", percent(*part), percent(*right)));
    let curve: Vec<_> = curve.collect();
    format!("accuracy of the surest {}; calibration error {}", curve.join(", "), percent(confidence.calibration_error))
}

/// Loads the model and writes one line of JSON: the requested provider `wanted`, the actual one
/// `on`, and the `reason` if they differ. Also writes it to `report` if that file exists: an init
/// container reports to the operator by its termination message.
///
/// # Errors
/// The model cannot be loaded, or writing fails.
pub fn provider(model: &Path, requested: Provider, report: &Path, mut output: impl Write) -> anyhow::Result<()> {
    let Encoders { placement, .. } = Encoder::load(&Folder::open(model)?, 1, requested)?;
    // The kubelet reads at most 4 KiB of a termination message.
    let reason = placement.reason.map(|reason| reason.chars().take(1_000).collect::<String>());
    let line = json!({ "wanted": placement.requested.as_str(), "on": placement.actual.as_str(), "reason": reason })
        .to_string();
    if report.exists() {
        std::fs::write(report, &line).with_context(|| format!("cannot write {}", report.display()))?;
    }
    Ok(writeln!(output, "{line}")?)
}

fn load_analyzer(model: &Path, provider: Provider) -> anyhow::Result<Analyzer> {
    let mut loaded = Analyzer::load(model, 1, provider)?;
    warn(&loaded.placement);
    loaded.analyzers.pop().context("no model")
}

fn load_encoder(model: &Path, provider: Provider) -> anyhow::Result<Encoder> {
    let mut loaded = Encoder::load(&Folder::open(model)?, 1, provider)?;
    warn(&loaded.placement);
    loaded.encoders.pop().context("no encoder")
}

#[expect(clippy::print_stderr, reason = "for the user of the command")]
fn warn(placement: &Placement) {
    if let Some(reason) = &placement.reason {
        eprintln!("switchyard-ai: runs on {}, not on {}: {reason}", placement.actual, placement.requested);
    }
}

/// The texts of lines, each plain or as JSON `{"text": …}`.
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
