//! The n-gram table: the weight of each n-gram for each language.
//!
//! Layout, with little-endian numbers:
//!
//! 1. [`MAGIC`].
//! 2. An index of 2^18 + 1 `u32`: the offset in the rows at which each bucket begins. The first 18 bits
//!    of an n-gram's hash select the bucket.
//! 3. Rows of `u16`, sorted by hash. A row is the next 16 bits of the hash, then an entry per language
//!    with this n-gram: the language's number in six bits, the weight in nine, and a bit that marks the
//!    last entry.

use std::{collections::BTreeMap, sync::LazyLock};

/// The first bytes of a table; the digit is the version of the layout.
pub const MAGIC: &[u8; 8] = b"ngrams 1";

/// The file of [`LEARNT`].
static BYTES: &[u8] = include_bytes!("../../learnt/language.bin");

/// The table that is compiled into this program.
pub static LEARNT: LazyLock<Table> = LazyLock::new(|| Table::new(BYTES).expect("a valid table"));

const BUCKET_BITS: u32 = 18;
const BUCKETS: usize = 1 << BUCKET_BITS;
const LAST: u16 = 1 << 15;
const WEIGHT_BITS: u32 = 9;
/// Added to a stored weight, so that it is not negative.
const OFFSET: i32 = 80;

/// The unit of weights, in nats.
pub const UNIT: f32 = 0.05;

/// A table, read in place.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    index: &'static [u8],
    rows: &'static [u8],
}

impl Table {
    /// The table in `bytes`; `None` if they are malformed.
    pub fn new(bytes: &'static [u8]) -> Option<Self> {
        let (index, rows) = bytes.strip_prefix(MAGIC)?.split_at_checked(4 * (BUCKETS + 1))?;
        let table = Self { index, rows };
        (table.begin(BUCKETS)? == rows.len() / 2).then_some(table)
    }

    /// Calls `each` with the number of each language that has the n-gram with this hash, and the
    /// weight in [`UNIT`]s.
    pub fn look_up(&self, hash: u64, mut each: impl FnMut(usize, i32)) {
        let (bucket, fingerprint) = split(hash);
        let (Some(begin), Some(end)) = (self.begin(bucket), self.begin(bucket + 1)) else { return };
        let Some(rows) = self.rows.get(2 * begin..2 * end) else { return };
        let mut values = rows.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two));
        while let Some(found) = values.next().filter(|found| *found <= fingerprint) {
            for entry in values.by_ref() {
                if found == fingerprint {
                    let language = (entry >> WEIGHT_BITS) & 0x3f;
                    each(usize::from(language), i32::from(entry & 0x1ff) - OFFSET);
                }
                if entry & LAST != 0 {
                    break;
                }
            }
        }
    }

    fn begin(&self, bucket: usize) -> Option<usize> {
        let four = self.index.get(4 * bucket..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*four)).ok()
    }
}

/// Encodes a table. `rows` has, by the hash of an n-gram, the weights in nats by language number.
/// Weights that do not fit are clamped.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to nine bits")]
pub fn encode(rows: &BTreeMap<u64, BTreeMap<usize, f32>>) -> Vec<u8> {
    let mut index = Vec::with_capacity(BUCKETS + 1);
    let mut values: Vec<u16> = Vec::new();
    // The bucket is the first bits of the hash, so hashes in order are buckets in order.
    for (hash, weights) in rows.iter().filter(|(_, weights)| !weights.is_empty()) {
        let (bucket, fingerprint) = split(*hash);
        index.resize(index.len().max(bucket + 1), values.len() as u32);
        values.push(fingerprint);
        for (language, weight) in weights {
            let stored = ((weight / UNIT).round() as i32 + OFFSET).clamp(0, 0x1ff) as u16;
            values.push((*language as u16 & 0x3f) << WEIGHT_BITS | stored);
        }
        if let Some(last) = values.last_mut() {
            *last |= LAST;
        }
    }
    index.resize(BUCKETS + 1, values.len() as u32);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(index.iter().flat_map(|begin| begin.to_le_bytes()));
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// The bucket of a hash, and its fingerprint in the bucket.
#[expect(clippy::cast_possible_truncation, reason = "the bits of a bucket, and 16")]
fn split(hash: u64) -> (usize, u16) {
    ((hash >> (64 - BUCKET_BITS)) as usize, (hash >> (48 - BUCKET_BITS)) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::language::{catalog::LANGUAGES, ngrams::hash};

    fn found(table: &Table, hash: u64) -> BTreeMap<usize, i32> {
        let mut found = BTreeMap::new();
        table.look_up(hash, |language, weight| assert!(found.insert(language, weight).is_none()));
        found
    }

    #[test]
    fn look_up_finds_exactly_what_was_written() {
        let texts = ["a", "b", "ab", " the ", "ß", "の"];
        let rows = texts.iter().enumerate().map(|(number, text)| {
            (hash(&text.chars().collect::<Vec<_>>()), BTreeMap::from([(number, 1.5), (47, -0.25), (63, 99.0)]))
        });
        let table = Table::new(encode(&rows.collect()).leak()).unwrap();
        for (number, text) in texts.iter().enumerate() {
            let right = BTreeMap::from([(number, 30), (47, -5), (63, 0x1ff - OFFSET)]);
            assert_eq!(found(&table, hash(&text.chars().collect::<Vec<_>>())), right);
        }
        assert!(found(&table, hash(&['c'])).is_empty());
    }

    #[test]
    fn malformed_table_is_refused() {
        let whole = encode(&BTreeMap::from([(1, BTreeMap::from([(0, 1.0)]))]));
        assert!(Table::new(whole.clone().leak()).is_some());
        assert!(Table::new(whole[..whole.len() - 2].to_vec().leak()).is_none());
        assert!(Table::new(whole[1..].to_vec().leak()).is_none());
        assert!(Table::new(b"").is_none());
    }

    #[test]
    fn learnt_table_covers_every_language() {
        let mut seen = vec![false; LANGUAGES.len()];
        for letter in ('a'..='z').chain('а'..='я').chain(['ا', 'ب', 'ی', 'ک', 'ي']) {
            LEARNT.look_up(hash(&[letter]), |language, _| seen[language] = true);
        }
        assert!(seen.iter().all(|seen| *seen), "{seen:?}");
    }

    proptest! {
        #[test]
        fn any_hash_can_be_looked_up(hash in any::<u64>()) {
            LEARNT.look_up(hash, |language, _| assert!(language < LANGUAGES.len()));
        }
    }
}
