//! Words that one language uses all the time and its neighbours do not.

/// Function words of the languages that `whichlang` knows among those in Latin script, lower case. A word that another language of
/// the crate writes in the same way is left out, even where it means something else there: `de`, `la`, `in`, `a`, `en`, `die`, `om`.
const WORDS: [(&str, &[&str]); 10] = [
    (
        "de",
        &[
            "und", "ist", "nicht", "das", "ich", "ein", "eine", "auf", "für", "auch", "sich", "wir", "sie", "dem",
            "wird", "aber", "haben",
        ],
    ),
    (
        "en",
        &[
            "the", "and", "you", "this", "that", "with", "have", "what", "just", "your", "they", "but", "when", "from",
            "will", "been", "has", "it's", "i'm", "don't",
        ],
    ),
    (
        "es",
        &["el", "los", "las", "pero", "muy", "más", "está", "porque", "hay", "y", "eso", "cuando", "también", "hoy"],
    ),
    (
        "fr",
        &[
            "les", "pas", "une", "dans", "pour", "qui", "sur", "c'est", "c’est", "avec", "vous", "nous", "ça", "cette",
            "être",
        ],
    ),
    ("it", &["che", "non", "per", "sono", "gli", "della", "più", "questo", "anche", "nel", "così", "perché", "è"]),
    ("nl", &["het", "een", "niet", "ik", "voor", "dat", "zijn", "ook", "maar", "naar", "wij", "deze", "heeft", "geen"]),
    ("pt", &["não", "você", "uma", "os", "muito", "isso", "em", "meu", "minha", "são", "pra", "tem", "também"]),
    ("sv", &["och", "är", "inte", "jag", "att", "för", "ett", "också", "när", "från", "mycket"]),
    ("tr", &["bir", "bu", "çok", "için", "değil", "ama", "gibi", "daha", "kadar", "yok", "ile", "sonra"]),
    ("vi", &["và", "không", "của", "có", "tôi", "cho", "với", "được", "những", "này", "một", "người", "đã", "rất"]),
];

/// Whether `prose` holds at least two words that are common in `language`, one in seven of all its words, and more than of any other list.
pub fn confirm(language: &str, prose: &str) -> bool {
    let mut counts = [0usize; WORDS.len()];
    let mut total = 0;
    for word in prose.split_whitespace() {
        let word = word.to_lowercase();
        total += 1;
        for (count, (_, words)) in counts.iter_mut().zip(&WORDS) {
            *count += usize::from(words.contains(&word.as_str()));
        }
    }
    let Some(own) = WORDS.iter().position(|(code, _)| *code == language) else { return false };
    let others = counts.iter().enumerate().filter(|(list, _)| *list != own).map(|(_, count)| *count).max().unwrap_or(0);
    counts[own] >= 2 && counts[own] * 7 >= total && counts[own] > others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_needs_two_common_words() {
        assert!(confirm("en", "the weather and you"));
        assert!(!confirm("en", "lovely weather"));
        assert!(!confirm("de", "the weather and you"));
        assert!(!confirm("pl", "to jest bardzo dobre"));
        assert!(!confirm("en", ""));
    }
}
