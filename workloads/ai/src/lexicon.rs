//! Rules that answer while the model is unavailable: they count positive and negative words.
//!
//! Results are marked as `fallback`.

use crate::{
    analysis::{Analysis, ModelInfo, unknown_category},
    language,
    model::Scored,
    text,
};

const POSITIVE: &[&str] = &[
    "good",
    "great",
    "love",
    "loved",
    "lovely",
    "happy",
    "best",
    "thanks",
    "thank",
    "awesome",
    "amazing",
    "beautiful",
    "perfect",
    "excellent",
    "win",
    "gut",
    "toll",
    "liebe",
    "danke",
    "schön",
    "super",
    "wunderbar",
    "bueno",
    "buena",
    "gracias",
    "amor",
    "feliz",
    "genial",
    "hermoso",
    "bon",
    "bonne",
    "merci",
    "adore",
    "magnifique",
    "heureux",
    "bello",
    "bella",
    "grazie",
    "felice",
    "ottimo",
    "obrigado",
    "obrigada",
    "ótimo",
    "lindo",
    "جميل",
    "رائع",
    "شكرا",
    "أحب",
    "अच्छा",
    "धन्यवाद",
    "खुश",
    "शानदार",
    "❤",
    "❤️",
    "😍",
    "😊",
    "😁",
    "😀",
    "🎉",
    "👍",
    "🥰",
    "💜",
    "💙",
    ":)",
    ":-)",
    ":D",
];

const NEGATIVE: &[&str] = &[
    "bad",
    "terrible",
    "hate",
    "awful",
    "sad",
    "worst",
    "angry",
    "horrible",
    "disgusting",
    "stupid",
    "wrong",
    "fail",
    "lost",
    "sick",
    "schlecht",
    "traurig",
    "hasse",
    "schlimm",
    "furchtbar",
    "malo",
    "mala",
    "triste",
    "odio",
    "peor",
    "asco",
    "mauvais",
    "mauvaise",
    "déteste",
    "pire",
    "nul",
    "brutto",
    "odio",
    "peggio",
    "schifo",
    "ruim",
    "ódio",
    "péssimo",
    "pior",
    "سيء",
    "حزين",
    "أكره",
    "बुरा",
    "दुखी",
    "नफरत",
    "😢",
    "😭",
    "😡",
    "😠",
    "👎",
    "💔",
    "🤮",
    ":(",
    ":-(",
];

/// Name and version of the rules.
pub fn info() -> ModelInfo {
    ModelInfo { name: "switchyard-lexicon".to_owned(), version: "1".to_owned(), fallback: true }
}

/// Analyses a post by rules.
///
/// The language is detected as with the model. The sentiment has the majority of the words; its
/// score grows with the margin and stays below 0.8. Without a majority it is neutral and unsure.
/// The category is unknown.
pub fn analyze(post: &str) -> Analysis {
    let text = text::normalise(post);
    if text.is_empty() {
        return Analysis::empty();
    }
    let (mut positive, mut negative) = (0u16, 0u16);
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|c: char| c.is_ascii_punctuation()).to_lowercase();
        let is_in = |list: &[&str]| list.contains(&bare.as_str()) || list.contains(&word);
        positive += u16::from(is_in(POSITIVE));
        negative += u16::from(is_in(NEGATIVE));
    }
    let (label, margin) = match positive.cmp(&negative) {
        std::cmp::Ordering::Greater => ("positive", positive - negative),
        std::cmp::Ordering::Less => ("negative", negative - positive),
        std::cmp::Ordering::Equal => ("neutral", 0),
    };
    let score = if margin == 0 { 0.4 } else { 0.8 - 0.4 / f32::from(margin + 1) };
    Analysis {
        language: language::detect(&text::prose(&text)).code.to_owned(),
        sentiment: Scored { label: label.to_owned(), score, unsure: margin == 0 },
        category: unknown_category(),
        topics: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decide_and_a_larger_margin_raises_the_score() {
        let label = |post: &str| analyze(post).sentiment.label;
        assert_eq!(label("What a GREAT day, thanks!"), "positive");
        assert_eq!(label("Das ist schlecht 😭"), "negative");
        assert_eq!(label("good and bad"), "neutral");
        assert!(analyze("good good").sentiment.score > analyze("good").sentiment.score);
    }

    #[test]
    fn empty_post_has_the_empty_analysis() {
        assert_eq!(analyze(" \u{200b}\n"), Analysis::empty());
    }
}
