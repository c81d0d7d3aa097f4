//! The table of n-grams: how much each of them speaks for each language.
//!
//! Layout, all numbers little-endian: [`MAGIC`]; an index of 2^[`BUCKET_BITS`] + 1 `u32`, where in the rows each bucket begins; the rows, of `u16`.
//! The first bits of an n-gram's hash choose the bucket. A row is the next 16 bits of the hash, then an entry for each language that has
//! the n-gram: its number in the catalog in six bits, its weight in nine, and one bit that marks the last entry. Rows are in the order of hashes.

use std::{collections::BTreeMap, sync::LazyLock};

/// Begins every table; the digit is the layout's version.
pub const MAGIC: &[u8; 8] = b"ngrams 1";

/// The file behind [`LEARNT`].
static BYTES: &[u8] = include_bytes!("../../learnt/language.bin");

/// The table that this program was built with.
pub static LEARNT: LazyLock<Table> = LazyLock::new(|| Table::new(BYTES).expect("a test reads the same bytes"));

const BUCKET_BITS: u32 = 18;
const BUCKETS: usize = 1 << BUCKET_BITS;
const LAST: u16 = 1 << 15;
const WEIGHT_BITS: u32 = 9;
/// Added to a weight where it is kept, so that it is never negative there.
const OFFSET: i32 = 80;

/// Weights are in units of this part of a nat.
pub const UNIT: f32 = 0.05;

/// Weights by n-gram, read from the bytes as they lie.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    index: &'static [u8],
    rows: &'static [u8],
}

impl Table {
    /// A table in `bytes`; `None` where they are not one.
    pub fn new(bytes: &'static [u8]) -> Option<Self> {
        let (index, rows) = bytes.strip_prefix(MAGIC)?.split_at_checked(4 * (BUCKETS + 1))?;
        let table = Self { index, rows };
        (table.begin(BUCKETS)? == rows.len() / 2).then_some(table)
    }

    /// Calls `each` with the number and the weight, in [`UNIT`]s, of each language that has the n-gram with this hash.
    pub fn look_up(&self, hash: u64, mut each: impl FnMut(usize, i32)) {
        let (bucket, print) = place(hash);
        let (Some(begin), Some(end)) = (self.begin(bucket), self.begin(bucket + 1)) else { return };
        let Some(rows) = self.rows.get(2 * begin..2 * end) else { return };
        let mut values = rows.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two));
        while let Some(found) = values.next().filter(|found| *found <= print) {
            for entry in values.by_ref() {
                if found == print {
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

/// Writes a table. `rows` has the weights in nats, by the number of the language, for each n-gram's hash; what is too large or too small to be kept is cut.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to nine bits before")]
pub fn encode(rows: &BTreeMap<u64, BTreeMap<usize, f32>>) -> Vec<u8> {
    let mut index = Vec::with_capacity(BUCKETS + 1);
    let mut values: Vec<u16> = Vec::new();
    // Buckets are the first bits, so that the order of hashes is that of buckets.
    for (hash, weights) in rows.iter().filter(|(_, weights)| !weights.is_empty()) {
        let (bucket, print) = place(*hash);
        index.resize(index.len().max(bucket + 1), values.len() as u32);
        values.push(print);
        for (language, weight) in weights {
            let kept = ((weight / UNIT).round() as i32 + OFFSET).clamp(0, 0x1ff) as u16;
            values.push((*language as u16 & 0x3f) << WEIGHT_BITS | kept);
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

#[allow(clippy::cast_possible_truncation, reason = "the bits of a bucket, and 16")]
fn place(hash: u64) -> (usize, u16) {
    ((hash >> (64 - BUCKET_BITS)) as usize, (hash >> (48 - BUCKET_BITS)) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::language::{LANGUAGES, ngrams::hash};

    fn found(table: &Table, hash: u64) -> BTreeMap<usize, i32> {
        let mut found = BTreeMap::new();
        table.look_up(hash, |language, weight| assert!(found.insert(language, weight).is_none()));
        found
    }

    #[test]
    fn what_is_written_is_found_and_nothing_else() {
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
    fn what_is_no_table_is_refused() {
        let whole = encode(&BTreeMap::from([(1, BTreeMap::from([(0, 1.0)]))]));
        assert!(Table::new(whole.clone().leak()).is_some());
        assert!(Table::new(whole[..whole.len() - 2].to_vec().leak()).is_none());
        assert!(Table::new(whole[1..].to_vec().leak()).is_none());
        assert!(Table::new(b"").is_none());
    }

    #[test]
    fn the_learnt_table_speaks_of_the_catalog() {
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
