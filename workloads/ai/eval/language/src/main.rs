//! How often, and how fast, lingua tells the language of labelled texts: `language-peer FILE.jsonl…`. Prints what `eval_language` prints.

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::Context;
use serde::Deserialize;

#[derive(Deserialize)]
struct Labelled {
    lang: String,
    text: String,
}

fn main() -> anyhow::Result<()> {
    let detector = lingua::LanguageDetectorBuilder::from_all_languages().with_preloaded_language_models().build();
    for file in std::env::args_os().skip(1) {
        let lines = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let texts: Vec<Labelled> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let began = Instant::now();
        let said: Vec<_> = texts.iter().map(|text| detector.detect_language_of(text.text.as_str())).collect();
        let seconds = began.elapsed().as_secs_f64();
        let mut right: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (text, said) in texts.iter().zip(said) {
            let (good, all) = right.entry(&text.lang).or_default();
            *good += f64::from(u8::from(said.is_some_and(|said| said.iso_code_639_1().to_string() == text.lang)));
            *all += 1.0;
        }
        let mean = right.values().map(|(good, all)| good / all).sum::<f64>() / right.len() as f64;
        let each = right.iter().map(|(language, (good, all))| format!("{language} {:.1}", 100.0 * good / all));
        println!(
            "{}: {:.2} % (mean of {} languages), {:.0} texts/s\n  {}",
            file.display(),
            100.0 * mean,
            right.len(),
            texts.len() as f64 / seconds,
            each.collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}
