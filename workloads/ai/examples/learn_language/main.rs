//! Trains the n-gram table of the language detection, `workloads/ai/learnt/language.bin`.
//!
//! Usage: `learn_language CRATES POSTS OUT`. CRATES is a folder with the unpacked crates
//! `lingua-<name>-language-model`, which have the statistics. POSTS has labelled posts, one JSON
//! object per line, of which those in Hindi are read. OUT is the file to write.
//! `workloads/ai/models/language` runs it with the pinned crates.

#![expect(clippy::print_stderr, reason = "a program of the command line")]

mod counts;
mod weights;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context;
use counts::Counts;
use parking_lot::Mutex;
use switchyard_ai::language::{LANGUAGES, Language, table};
use weights::Smoothing;

/// Least gain of an n-gram, in nats per letter of text, for common and for rarer languages.
const COMMON_MIN_GAIN: f64 = 3.3e-6;
const RARER_MIN_GAIN: f64 = 3e-5;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [crates, posts, out] = arguments.as_slice() else { anyhow::bail!("usage: learn_language CRATES POSTS OUT") };
    let rows = Mutex::new(BTreeMap::<u64, BTreeMap<usize, f32>>::new());
    let pending = Mutex::new(LANGUAGES.iter().enumerate());
    let next = || pending.lock().next();
    thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            while let Some((number, language)) = next() {
                let weights = train(language, crates, posts)?;
                eprintln!("{}: {} n-grams", language.code, weights.len());
                let mut rows = rows.lock();
                for (hash, weight) in weights {
                    // Of two n-grams with the same hash the last one counts. That is one in
                    // millions.
                    rows.entry(hash).or_default().insert(number, weight);
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    let rows = rows.into_inner();
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

fn train(language: &Language, crates: &Path, posts: &Path) -> anyhow::Result<Vec<(u64, f32)>> {
    let (counts, smoothing) = match language.name {
        Some(name) => {
            let file = crates.join(format!("lingua-{name}-language-model/models/ngrams.fst"));
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let min_gain = if language.prior < 0.0 { RARER_MIN_GAIN } else { COMMON_MIN_GAIN };
            (Counts::from_crate(bytes)?, Smoothing { discount: 0.7, min_gain })
        }
        // Only a few thousand posts: n-grams seen once may be chance, so the discount is larger,
        // and none is pruned.
        None => (Counts::from_posts(posts)?, Smoothing { discount: 0.9, min_gain: 0.0 }),
    };
    Ok(weights::compute(&counts, smoothing))
}
