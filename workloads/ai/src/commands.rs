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

use crate::{
    Analyzer,
    evaluation::{Figures, Judged, Labelled, Sureness, report},
    model::{Encoder, Folder},
    text,
};

/// Reads one text a line, as it stands or as JSON `{"text": …}`, and writes one JSON analysis a line. Bytes that are not UTF-8 are replaced.
pub fn classify(model: &Path, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let mut analyzer = one(model)?;
    for line in lines(input) {
        let detail = analyzer.detail(&line?)?;
        writeln!(output, "{}", serde_json::to_string(&detail.analysis)?)?;
    }
    Ok(output.flush()?)
}

/// As [`classify`], writing `{"embedding": …}` with little-endian float32 numbers in base64: what heads are learnt from.
pub fn embed(model: &Path, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let mut encoder = Encoder::load(&Folder::open(model)?, 1)?.pop().context("no encoder")?;
    for line in lines(input) {
        let embedding = encoder.embed(&text::normalise(&line?))?;
        let bytes: Vec<u8> = embedding.iter().flat_map(|value| value.to_le_bytes()).collect();
        writeln!(output, "{}", json!({ "embedding": STANDARD.encode(bytes) }))?;
    }
    Ok(output.flush()?)
}

/// As [`classify`], writing `{"tokens": […]}`: what the encoder reads of each text, and learns from.
pub fn tokens(model: &Path, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let encoder = Encoder::load(&Folder::open(model)?, 1)?.pop().context("no encoder")?;
    for line in lines(input) {
        writeln!(output, "{}", json!({ "tokens": encoder.tokens(&text::normalise(&line?))? }))?;
    }
    Ok(output.flush()?)
}

/// Compares the models with the labels in `file`; `as_json` ends the output with one line of JSON.
pub fn eval(model: &Path, file: &Path, as_json: bool, mut output: impl Write) -> anyhow::Result<()> {
    let mut analyzer = one(model)?;
    let input = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut judged = Vec::new();
    for (number, line) in BufReader::new(input).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let post: Labelled =
            serde_json::from_str(&line).with_context(|| format!("{}, line {}", file.display(), number + 1))?;
        judged.push(Judged::new(&post, &analyzer.detail(&post.text)?));
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

fn one(model: &Path) -> anyhow::Result<Analyzer> {
    let (mut analyzers, _) = Analyzer::load(model, 1)?;
    let mut analyzer = analyzers.pop().context("no model")?;
    analyzer.check()?;
    Ok(analyzer)
}

fn lines(input: impl BufRead) -> impl Iterator<Item = std::io::Result<String>> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    input.split(b'\n').map(|line| {
        let line = line?;
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
        Ok(serde_json::from_str(&text).map_or(text, |line: Line| line.text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_or_json_and_never_fail() {
        let read: Vec<String> =
            lines(&b"plain\r\n{\"text\":\"two\\nlines\"}\n{\"other\":1}\n\xff"[..]).map(Result::unwrap).collect();
        assert_eq!(read, ["plain", "two\nlines", "{\"other\":1}", "\u{fffd}"]);
    }
}
