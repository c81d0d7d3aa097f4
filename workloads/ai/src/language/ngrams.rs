//! Words and their character n-grams. Training and detection share this module, so that they agree.

/// Characters of the longest n-gram.
pub const ORDER: usize = 5;

/// The character before and after each word.
pub const BOUNDARY: char = ' ';

/// Calls `each` with every word of `text`, in lower case between two [`BOUNDARY`] characters. Words
/// consist of letters; combining accents, Arabic vowel signs and the Arabic tatweel are skipped.
pub fn words(text: &str, mut each: impl FnMut(&[char])) {
    let mut word = vec![BOUNDARY];
    // The final boundary ends the last word.
    for c in text.chars().flat_map(char::to_lowercase).chain([BOUNDARY]) {
        match c {
            '\u{300}'..='\u{36f}' | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' => {}
            c if c.is_alphabetic() => word.push(c),
            _ if word.len() > 1 => {
                word.push(BOUNDARY);
                each(&word);
                word.truncate(1);
            }
            _ => {}
        }
    }
}

/// Calls `each` with the hash of every n-gram of a word from [`words`], except the lone first
/// boundary.
pub fn hashes(word: &[char], mut each: impl FnMut(u64)) {
    for last in 1..word.len() {
        let mut hash = 0;
        for first in (0..=last).rev().take(ORDER) {
            hash = step(hash, word[first]);
            each(hash);
        }
    }
}

/// The hash of an n-gram. It extends from the last character to the first, so that all n-grams with
/// the same end share the work.
pub fn hash(ngram: &[char]) -> u64 {
    ngram.iter().rev().fold(0, |hash, c| step(hash, *c))
}

fn step(hash: u64, c: char) -> u64 {
    // The multiplication mixes upwards and the shift downwards: every bit depends on every
    // character.
    let mixed = (hash ^ u64::from(c as u32 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        words(text, |word| all.push(word.iter().collect()));
        all
    }

    #[test]
    fn words_are_letters_between_boundaries() {
        assert_eq!(all("Don't stop,ÉTÉ 2day"), [" don ", " t ", " stop ", " été ", " day "]);
        assert_eq!(all("مُحَمَّد ســلام"), [" محمد ", " سلام "]);
        assert_eq!(all("12 😀 -"), Vec::<String>::new());
    }

    #[test]
    fn each_ngram_is_seen_once_with_its_hash() {
        let word: Vec<char> = " abcdef ".chars().collect();
        let mut seen = Vec::new();
        hashes(&word, |hash| seen.push(hash));
        let ngrams: Vec<u64> = (1..word.len())
            .flat_map(|last| (last.saturating_sub(ORDER - 1)..=last).rev().map(move |first| (first, last)))
            .map(|(first, last)| hash(&word[first..=last]))
            .collect();
        assert_eq!(seen, ngrams);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
    }
}
