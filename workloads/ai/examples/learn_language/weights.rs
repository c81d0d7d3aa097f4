//! What an n-gram adds to the log of a text's probability.
//!
//! Probabilities of letters given those before them, by interpolated absolute discounting (Ney, Essen and Kneser, 1994); what hardly changes
//! them is left out, by what it would change over a text (Stolcke, 1998); and what is not there costs the same everywhere, as in "stupid backoff"
//! (Brants and others, 2007).

use std::collections::HashMap;

use switchyard_ai::language::ngrams::{ORDER, hash};

use crate::counts::{Counts, Ngram};

/// How a model is smoothed.
#[derive(Debug, Clone, Copy)]
pub struct Smoothing {
    /// What each n-gram gives of its count to those that were not seen.
    pub discount: f64,
    /// An n-gram stays where it changes the log probability by this much, in nats times its share of all letters.
    pub least: f64,
}

/// Log probability of a letter that a language does not have.
const UNSEEN: f64 = -14.0;

/// What it costs, in nats, that a context is not followed by a letter as it was seen to be: the next shorter one is asked then. One number for
/// all contexts and languages, so that absence needs no entry in the table.
const BACK_OFF: f64 = 3.0;

/// The weights by hash. Their sum over the n-grams of a text is, but for a constant that depends on the text alone, the log of its probability.
pub fn of(counts: &Counts, smoothing: Smoothing) -> Vec<(u64, f32)> {
    let mut orders: Vec<Vec<(Ngram, f64)>> = vec![Vec::new(); ORDER + 1];
    for (ngram, count) in &counts.0 {
        orders[ngram.len()].push((*ngram, *count));
    }
    let letters: f64 = orders[1].iter().map(|(_, count)| count).sum();
    let mut known = Logs(HashMap::new());
    let mut weights = Vec::new();
    for order in &orders[1..] {
        let mut contexts: HashMap<Ngram, Context> = HashMap::new();
        for (ngram, count) in order {
            contexts.entry(ngram.context()).or_default().seen += count;
        }
        let mut stay = Vec::new();
        for (ngram, count) in order {
            let context = contexts.get_mut(&ngram.context()).expect("made above");
            let log = (count / context.seen).ln();
            let gain = log - (known.shorter(*ngram) - BACK_OFF);
            let kept = if ngram.len() == 1 { log > UNSEEN } else { count / letters * gain.abs() >= smoothing.least };
            if kept {
                context.kept += 1.0;
                stay.push((*ngram, *count));
            } else {
                context.dropped += count;
            }
        }
        let logs: Vec<(Ngram, f64)> = stay
            .into_iter()
            .map(|(ngram, count)| {
                let context = &contexts[&ngram.context()];
                let shorter = known.shorter(ngram);
                let left = context.dropped + smoothing.discount * context.kept;
                let log = ((count - smoothing.discount + left * shorter.exp()) / context.seen).ln();
                weights.push((ngram, log - shorter + if ngram.len() == 1 { 0.0 } else { BACK_OFF }));
                (ngram, log)
            })
            .collect();
        known.0.extend(logs);
    }
    weights.into_iter().map(|(ngram, weight)| (hash(&ngram.characters()), weight as f32)).collect()
}

/// What was seen after a context, in counts.
#[derive(Default)]
struct Context {
    seen: f64,
    dropped: f64,
    /// How many n-grams.
    kept: f64,
}

/// Log probabilities of the last letter given those before it.
struct Logs(HashMap<Ngram, f64>);

impl Logs {
    /// That of the n-gram without its first letter, or without more of them, as the table will have it.
    fn shorter(&self, ngram: Ngram) -> f64 {
        let mut cost = 0.0;
        for length in (1..ngram.len()).rev() {
            if let Some(log) = self.0.get(&ngram.end(length)) {
                return log - cost;
            }
            cost += BACK_OFF;
        }
        UNSEEN - cost
    }
}
