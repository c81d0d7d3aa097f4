//! JSON from outside that is almost text.

use std::borrow::Cow;

/// `json` with U+FFFD in place of every escaped half of a surrogate pair whose other half is missing. The grammar allows such halves (RFC 8259, section
/// 8.2), they are what is left of an emoji that somebody cut in two, and a parser that makes strings of Unicode refuses the whole document for one of
/// them. What is not JSON stays that.
pub fn mended(json: &[u8]) -> Cow<'_, [u8]> {
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(next) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += next;
        at += match (escaped(json, at), escaped(json, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.get_or_insert_with(|| json.to_vec())[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            // A backslash that is escaped itself begins nothing.
            _ => 2,
        };
        if at >= json.len() {
            break;
        }
    }
    mended.map_or(Cow::Borrowed(json), Cow::Owned)
}

/// The number in an escape such as `\u00e9` that begins at `at`.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    // A sign would be taken for a part of the number.
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> String {
        serde_json::from_slice(&mended(json.as_bytes())).unwrap()
    }

    #[test]
    fn halves_without_their_other_half_are_replaced_and_pairs_are_not() {
        assert_eq!(text(r#""a\ud83d""#), "a\u{fffd}");
        assert_eq!(text(r#""\ude00\ud83d b""#), "\u{fffd}\u{fffd} b");
        assert_eq!(text(r#""\ud83d\ud83d\ude00""#), "\u{fffd}😀");
        assert_eq!(text(r#""\\ud83d \u00e9\n""#), "\\ud83d é\n");
        assert!(matches!(mended(br#"{"a": "\ud83d\ude00"}"#), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_no_json_is_left_to_the_parser() {
        for odd in [&b""[..], b"\\", b"\\u", b"\\ud8", b"\"\\u+d83\"", b"\xff\\"] {
            assert_eq!(*mended(odd), *odd);
        }
    }

    proptest! {
        #[test]
        fn whatever_can_be_read_is_read_as_before(text in any::<String>()) {
            let json = serde_json::to_vec(&text).unwrap();
            prop_assert_eq!(&*mended(&json), &json[..]);
        }

        #[test]
        fn any_escapes_become_a_text(codes in proptest::collection::vec(any::<u16>(), 0..20)) {
            let escapes: String = codes.iter().map(|code| format!("\\u{code:04x}")).collect();
            prop_assert_eq!(text(&format!("\"{escapes}\"")), String::from_utf16_lossy(&codes));
        }
    }
}
