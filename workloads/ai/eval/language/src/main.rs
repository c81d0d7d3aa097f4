//! Measures the accuracy and the speed of lingua on labelled texts: `language-peer FILE.jsonl…`.
//!
//! The output is that of `eval_language`.

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::Context;
use serde::Deserialize;

#[derive(Deserialize)]
struct LabelledPost {
    lang: String,
    text: String,
}

fn main() -> anyhow::Result<()> {
    let detector = lingua::LanguageDetectorBuilder::from_all_languages().with_preloaded_language_models().build();
    for file in std::env::args_os().skip(1) {
        let lines = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let texts: Vec<LabelledPost> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let began = Instant::now();
        let detected: Vec<_> = texts.iter().map(|text| detector.detect_language_of(text.text.as_str())).collect();
        let seconds = began.elapsed().as_secs_f64();
        let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (text, detected) in texts.iter().zip(detected) {
            let (correct, total) = counts.entry(&text.lang).or_default();
            *correct += f64::from(u8::from(
                detected.is_some_and(|language| language.iso_code_639_1().to_string() == text.lang),
            ));
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
            texts.len() as f64 / seconds,
            each.collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}
