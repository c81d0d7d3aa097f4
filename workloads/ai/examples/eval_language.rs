//! Measures the accuracy and the speed of language detection: `eval_language FILE.jsonl…`.
//!
//! The files are those of `switchyard-ai eval`. No model folder is needed.

#![expect(clippy::print_stdout, reason = "a program of the command line")]

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::Context;
use switchyard_ai::{evaluation::LabelledPost, language::detect, text};

fn main() -> anyhow::Result<()> {
    for file in std::env::args_os().skip(1) {
        let lines = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let posts: Vec<LabelledPost> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let began = Instant::now();
        let detected: Vec<_> = posts.iter().map(|post| detect(&text::prose(&text::normalise(&post.text)))).collect();
        let seconds = began.elapsed().as_secs_f64();
        let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (post, detected) in posts.iter().zip(&detected) {
            let language = post.lang.as_deref().unwrap_or_default();
            let (correct, total) = counts.entry(language).or_default();
            *correct += f64::from(u8::from(language == detected.code));
            *total += 1.0;
        }
        let mean = counts.values().map(|(correct, total)| correct / total).sum::<f64>() / counts.len() as f64;
        let each =
            counts.iter().map(|(language, (correct, total))| format!("{language} {:.1}", 100.0 * correct / total));
        println!(
            "{}: {:.2} % (mean of {} languages), {:.0} texts/s\n  {}",
            file.display(),
            100.0 * mean,
            counts.len(),
            posts.len() as f64 / seconds,
            each.collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}
