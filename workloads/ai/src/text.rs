//! Normalises posts to the form that the model was trained on.

/// Most characters of a post; the rest is cut off. The encoder reads at most 160 tokens, which are
/// always shorter.
pub const MAX_CHARS: usize = 4_000;

/// Normalises a post. URLs become `http`, mentions become `@user`, and white space becomes single
/// spaces. Control characters and invisible formatting characters are removed. Reads at most
/// [`MAX_CHARS`] characters. Idempotent.
pub fn normalise(post: &str) -> String {
    let mut text = String::with_capacity(post.len().min(4 * MAX_CHARS));
    for word in visible(post).split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        push_word(&mut text, word);
    }
    text
}

/// The words of a normalised text, for language detection: without URLs, mentions, hash signs,
/// digits and emoji.
pub fn prose(normalised: &str) -> String {
    let mut prose = String::with_capacity(normalised.len());
    for word in normalised.split(' ') {
        if word == "http" || word.starts_with("@user") || word == "RT" {
            continue;
        }
        for c in word.trim_start_matches('#').chars() {
            // Marks stay with their letters: Hindi and Thai words change without them.
            if c.is_alphabetic() || is_mark(c) || matches!(c, '\'' | '’' | '-') {
                prose.push(c);
            } else if !prose.ends_with(' ') {
                prose.push(' ');
            }
        }
        if !prose.ends_with(' ') {
            prose.push(' ');
        }
    }
    prose.trim().to_owned()
}

fn visible(post: &str) -> String {
    post.chars()
        .take(MAX_CHARS)
        .filter_map(|c| match c {
            '\t' | '\n' | '\r' => Some(' '),
            // Joiners combine emoji and shape letters in Hindi and Persian. The variation selector
            // requests the emoji form.
            '\u{200c}' | '\u{200d}' | '\u{fe0f}' => Some(c),
            c if c.is_control() || is_format(c) => None,
            c => Some(c),
        })
        .collect()
}

fn push_word(text: &mut String, word: &str) {
    let lower = word.get(..8).unwrap_or(word).to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") || lower.starts_with("www.") {
        text.push_str("http");
        return;
    }
    match word.strip_prefix('@') {
        Some(rest) if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
            text.push_str("@user");
            text.push_str(rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
        }
        _ => text.push_str(word),
    }
}

/// Invisible formatting characters: directions, joiners, tags, byte-order marks.
fn is_format(c: char) -> bool {
    matches!(c as u32, 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe0fff)
}

/// Combining marks of the common scripts.
fn is_mark(c: char) -> bool {
    matches!(c as u32, 0x300..=0x36f | 0x591..=0x5c7 | 0x610..=0x61a | 0x64b..=0x65f | 0x900..=0xdff | 0xe31..=0xe3a | 0xe47..=0xe4e | 0x1000..=0x109f | 0x1780..=0x17d3 | 0x200c..=0x200d)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_mentions_become_placeholders() {
        assert_eq!(normalise("RT @Some_One: look\n\nhttps://t.co/abc  NOW"), "RT @user: look http NOW");
        assert_eq!(normalise("me@example.org @ home www.example.org"), "me@example.org @ home http");
    }

    #[test]
    fn invisible_characters_are_dropped() {
        assert_eq!(normalise("a\u{202e}b\u{0}c\u{feff}"), "abc");
        assert_eq!(normalise(" \u{200b}\t\n "), "");
    }

    #[test]
    fn long_post_is_truncated() {
        assert_eq!(normalise(&"x".repeat(1_000_000)).chars().count(), MAX_CHARS);
    }

    #[test]
    fn prose_has_only_words() {
        assert_eq!(prose(&normalise("@a Schöner #Tag, oder? 😀 http://x.y 12")), "Schöner Tag oder");
        assert_eq!(prose("😀 123 @user http"), "");
    }

    proptest! {
        #[test]
        fn normalising_is_idempotent(text in any::<String>()) {
            let once = normalise(&text);
            prop_assert_eq!(normalise(&once), once.clone());
            prose(&once);
        }
    }
}
