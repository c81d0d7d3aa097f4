//! How often, and how fast, the language alone is told: `eval_language FILE.jsonl…`, files as `switchyard-ai eval` takes them. Needs no model
//! folder.

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::Context;
use switchyard_ai::{evaluation::Labelled, language::detect, text};

fn main() -> anyhow::Result<()> {
    for file in std::env::args_os().skip(1) {
        let lines = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let posts: Vec<Labelled> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let began = Instant::now();
        let said: Vec<_> = posts.iter().map(|post| detect(&text::prose(&text::normalise(&post.text)))).collect();
        let seconds = began.elapsed().as_secs_f64();
        let mut right: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (post, said) in posts.iter().zip(&said) {
            let language = post.lang.as_deref().unwrap_or_default();
            let (good, all) = right.entry(language).or_default();
            *good += f64::from(u8::from(language == said.code));
            *all += 1.0;
        }
        let mean = right.values().map(|(good, all)| good / all).sum::<f64>() / right.len() as f64;
        let each = right.iter().map(|(language, (good, all))| format!("{language} {:.1}", 100.0 * good / all));
        println!(
            "{}: {:.2} % (mean of {} languages), {:.0} texts/s\n  {}",
            file.display(),
            100.0 * mean,
            right.len(),
            posts.len() as f64 / seconds,
            each.collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}
