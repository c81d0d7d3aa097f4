//! Learns the table of n-grams that languages are told by, `workloads/ai/learnt/language.bin`.
//!
//! `learn_language CRATES POSTS OUT`: CRATES is a folder with the crates `lingua-<name>-language-model` unpacked, whose statistics are
//! read; POSTS has labelled posts, one JSON object a line, of which those in Hindi are read; OUT is the file to write.
//! `workloads/ai/models/language` calls it with the pinned crates.

mod counts;
mod weights;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use anyhow::Context;
use counts::Counts;
use switchyard_ai::language::{LANGUAGES, Language, table};
use weights::Smoothing;

/// Gains below these, in nats for each letter of text, are not kept: a language that many write, and one that fewer write.
const COMMON: f64 = 3.3e-6;
const RARER: f64 = 3e-5;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [crates, posts, out] = arguments.as_slice() else { anyhow::bail!("usage: learn_language CRATES POSTS OUT") };
    let rows = Mutex::new(BTreeMap::<u64, BTreeMap<usize, f32>>::new());
    let waiting = Mutex::new(LANGUAGES.iter().enumerate());
    let next = || waiting.lock().expect("no thread panics").next();
    thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            while let Some((number, language)) = next() {
                let weights = learn(language, crates, posts)?;
                eprintln!("{}: {} n-grams", language.code, weights.len());
                let mut rows = rows.lock().expect("no thread panics");
                for (hash, weight) in weights {
                    // Two n-grams of one hash are one n-gram from here on, and the last of them counts: one in some millions.
                    rows.entry(hash).or_default().insert(number, weight);
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    let rows = rows.into_inner()?;
    let bytes = table::encode(&rows);
    fs::write(out, &bytes).with_context(|| format!("cannot write {}", out.display()))?;
    eprintln!(
        "{} n-grams, {} entries, {} bytes",
        rows.len(),
        rows.values().map(BTreeMap::len).sum::<usize>(),
        bytes.len()
    );
    Ok(())
}

fn learn(language: &Language, crates: &Path, posts: &Path) -> anyhow::Result<Vec<(u64, f32)>> {
    let (counts, smoothing) = match language.name {
        Some(name) => {
            let file = crates.join(format!("lingua-{name}-language-model/models/ngrams.fst"));
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let least = if language.prior < 0.0 { RARER } else { COMMON };
            (Counts::from_crate(bytes)?, Smoothing { discount: 0.7, least })
        }
        // A few thousand posts: what was seen once may well be chance, and nothing is too rare to be kept.
        None => (Counts::from_posts(posts)?, Smoothing { discount: 0.9, least: 0.0 }),
    };
    Ok(weights::of(&counts, smoothing))
}
