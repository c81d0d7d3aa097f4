//! The weight of each n-gram: its contribution to the log probability of a text.
//!
//! Letter probabilities use interpolated absolute discounting (Ney, Essen and Kneser, 1994).
//! N-grams that hardly change the probability of a text are pruned (Stolcke, 1998). Missing n-grams
//! have a constant back-off cost, as in "stupid backoff" (Brants et al., 2007).

use std::collections::HashMap;

use switchyard_ai::language::ngrams::{ORDER, hash};

use crate::counts::{Counts, Ngram};

/// Smoothing and pruning of a model.
#[derive(Debug, Clone, Copy)]
pub struct Smoothing {
    /// Subtracted from the count of each n-gram and given to unseen ones.
    pub discount: f64,
    /// Least gain of an n-gram: its change of the log probability in nats, times its share of all
    /// letters. N-grams below it are pruned.
    pub min_gain: f64,
}

/// Log probability of a letter that the language does not have.
const UNSEEN: f64 = -14.0;

/// Cost in nats of backing off to the next shorter context. It is the same for all contexts and
/// languages, so that missing n-grams need no entry in the table.
const BACK_OFF: f64 = 3.0;

/// Computes the weights by hash. Their sum over the n-grams of a text is the log of its
/// probability, except for a constant that depends only on the text.
#[expect(clippy::cast_possible_truncation, reason = "the table has nine bits for a weight")]
pub fn compute(counts: &Counts, smoothing: Smoothing) -> Vec<(u64, f32)> {
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
        let mut kept_ngrams = Vec::new();
        for (ngram, count) in order {
            let context = contexts.get_mut(&ngram.context()).expect("inserted above");
            let log = (count / context.seen).ln();
            let gain = log - (known.shorter(*ngram) - BACK_OFF);
            let kept = if ngram.len() == 1 { log > UNSEEN } else { count / letters * gain.abs() >= smoothing.min_gain };
            if kept {
                context.kept += 1.0;
                kept_ngrams.push((*ngram, *count));
            } else {
                context.dropped += count;
            }
        }
        let logs: Vec<(Ngram, f64)> = kept_ngrams
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

/// Counts of the letters after a context.
#[derive(Default)]
struct Context {
    seen: f64,
    dropped: f64,
    /// Number of n-grams that are kept.
    kept: f64,
}

/// Log probabilities of the last letter of an n-gram given the others.
struct Logs(HashMap<Ngram, f64>);

impl Logs {
    /// The log probability with the longest known shorter context, including the back-off cost.
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
