//! Counts of n-grams in a language.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::Context;
use fst::Streamer;
use serde::Deserialize;
use switchyard_ai::{
    language::ngrams::{BOUNDARY, ORDER, words},
    text,
};

/// Up to [`ORDER`] characters, packed at 21 bits each with the last one lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ngram(u128);

impl Ngram {
    pub fn new(characters: &[char]) -> Self {
        Self(characters.iter().fold(0, |bits, c| bits << 21 | u128::from(u32::from(*c))))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps 21 bits")]
    pub fn characters(self) -> Vec<char> {
        (0..self.len()).rev().filter_map(|place| char::from_u32((self.0 >> (21 * place)) as u32 & 0x1f_ffff)).collect()
    }

    pub fn len(self) -> usize {
        (128 - self.0.leading_zeros() as usize).div_ceil(21)
    }

    /// Without the last character.
    pub fn context(self) -> Self {
        Self(self.0 >> 21)
    }

    /// The last `length` characters.
    pub fn end(self, length: usize) -> Self {
        Self(self.0 & !(u128::MAX << (21 * length)))
    }

    fn followed(self, c: char) -> Self {
        Self(self.0 << 21 | u128::from(u32::from(c)))
    }

    fn preceded(self, c: char) -> Self {
        Self(self.0 | u128::from(u32::from(c)) << (21 * self.len()))
    }
}

/// Counts of n-grams of 1 to [`ORDER`] characters, including word boundaries.
pub struct Counts(pub HashMap<Ngram, f64>);

impl Counts {
    /// Reconstructs the counts behind a model of the crates. It has the log probability of each
    /// n-gram's last letter given the others, only for n-grams inside words. Occurrences that no
    /// letter follows end a word; those that no letter precedes begin one.
    ///
    /// # Errors
    /// The model is malformed.
    pub fn from_crate(model: Vec<u8>) -> anyhow::Result<Self> {
        let mut inside: HashMap<Ngram, f64> = HashMap::new();
        let map = fst::Map::new(model)?;
        let mut stream = map.stream();
        let mut rarest = f64::MAX;
        // Keys are sorted by bytes, so a context comes before its n-grams.
        while let Some((key, log)) = stream.next() {
            let ngram = Ngram::new(&std::str::from_utf8(key)?.chars().collect::<Vec<_>>());
            let context = match ngram.len() {
                1 => 1.0,
                2..=ORDER => *inside.get(&ngram.context()).context("an n-gram without its context")?,
                length => anyhow::bail!("an n-gram of {length} characters"),
            };
            let probability = context * f64::from_bits(log).exp();
            rarest = rarest.min(probability);
            inside.insert(ngram, probability);
        }
        // The rarest n-gram occurred once.
        for value in inside.values_mut() {
            *value = (*value / rarest).round();
        }
        let shorter = || inside.iter().filter(|(ngram, _)| ngram.len() < ORDER).map(|(ngram, count)| (*ngram, *count));
        let (mut beginning, mut ending): (HashMap<_, _>, HashMap<_, _>) = (shorter().collect(), shorter().collect());
        for (ngram, count) in inside.iter().filter(|(ngram, _)| ngram.len() > 1) {
            *beginning.get_mut(&ngram.end(ngram.len() - 1)).context("an n-gram without its end")? -= count;
            *ending.get_mut(&ngram.context()).context("an n-gram without its context")? -= count;
        }
        let mut whole: HashMap<_, _> = beginning
            .iter()
            .filter(|(ngram, _)| ngram.len() < ORDER - 1)
            .map(|(ngram, count)| (*ngram, *count))
            .collect();
        for (ngram, count) in beginning.iter().filter(|(ngram, _)| ngram.len() > 1) {
            *whole.get_mut(&ngram.context()).context("a beginning without its context")? -= count;
        }
        let words = beginning.iter().filter(|(ngram, _)| ngram.len() == 1).map(|(_, count)| count).sum();
        let mut all = inside;
        all.insert(Ngram::new(&[BOUNDARY]), words);
        all.extend(beginning.into_iter().map(|(ngram, count)| (ngram.preceded(BOUNDARY), count)));
        all.extend(ending.into_iter().map(|(ngram, count)| (ngram.followed(BOUNDARY), count)));
        all.extend(whole.into_iter().map(|(ngram, count)| (ngram.followed(BOUNDARY).preceded(BOUNDARY), count)));
        all.retain(|_, count| *count >= 1.0);
        Ok(Self(all))
    }

    /// Counts the posts of `file` that are labelled as Hindi and written in Latin script. A fifth
    /// of them is English and skipped.
    ///
    /// # Errors
    /// The file cannot be read, a line is malformed, or no post remains.
    pub fn from_posts(file: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Post {
            lang: String,
            text: String,
        }
        let mut counts: HashMap<Ngram, f64> = HashMap::new();
        let input = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        for line in BufReader::new(input).lines() {
            let post: Post = serde_json::from_str(&line?)?;
            let prose = text::prose(&text::normalise(&post.text));
            if !["hi", "hindi"].contains(&post.lang.as_str()) || is_english(&prose) {
                continue;
            }
            words(&prose, |word| {
                for last in 1..word.len() {
                    for first in last.saturating_sub(ORDER - 1)..=last {
                        *counts.entry(Ngram::new(&word[first..=last])).or_default() += 1.0;
                    }
                }
            });
        }
        anyhow::ensure!(!counts.is_empty(), "{} has no posts in Hindi", file.display());
        Ok(Self(counts))
    }
}

/// Words that are frequent in English but not in Hindi.
const ENGLISH: [&str; 24] = [
    "and", "at", "be", "been", "for", "from", "have", "i", "it", "just", "my", "not", "of", "on", "out", "that",
    "they", "this", "was", "we", "what", "will", "with", "you",
];
/// Words that are frequent in Hindi but not in English.
const HINDI: [&str; 24] = [
    "aur", "bhai", "bhi", "hai", "hain", "ho", "hu", "ka", "kar", "ke", "ki", "ko", "koi", "kya", "mein", "na", "nahi",
    "raha", "sab", "se", "tha", "toh", "wo", "ye",
];

/// Whether `prose` has more than twice as many of the English words as of the Hindi ones.
fn is_english(prose: &str) -> bool {
    let (mut english, mut hindi) = (0, 0);
    words(prose, |word| {
        let word: String = word[1..word.len() - 1].iter().collect();
        english += usize::from(ENGLISH.contains(&word.as_str()));
        hindi += usize::from(HINDI.contains(&word.as_str()));
    });
    english > 2 * hindi
}
