//! What can be said about a post by rules alone, for the time in which the model cannot run. Marked as `fallback` in every result.

use crate::{
    analyzer::{Analysis, ModelInfo, nothing, unknown},
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

/// The rules' name and version.
pub fn info() -> ModelInfo {
    ModelInfo { name: "switchyard-lexicon".to_owned(), version: "1".to_owned(), fallback: true }
}

/// Language as always; sentiment by counting words, with a score that grows with the margin and stays below 0.8; category unknown; unsure where words do not decide.
pub fn analyze(post: &str) -> Analysis {
    let text = text::normalise(post);
    if text.is_empty() {
        return nothing();
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
        category: unknown(),
        topics: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decide_and_margins_raise_the_score() {
        let label = |post: &str| analyze(post).sentiment.label;
        assert_eq!(label("What a GREAT day, thanks!"), "positive");
        assert_eq!(label("Das ist schlecht 😭"), "negative");
        assert_eq!(label("good and bad"), "neutral");
        assert!(analyze("good good").sentiment.score > analyze("good").sentiment.score);
    }

    #[test]
    fn an_empty_post_is_said_to_be_nothing() {
        assert_eq!(analyze(" \u{200b}\n"), nothing());
    }
}
