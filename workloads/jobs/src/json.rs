//! JSON from other services that Rust strings cannot represent.

use std::borrow::Cow;

/// `json` with U+FFFD in place of each escaped lone surrogate.
///
/// The grammar allows lone surrogates (RFC 8259, section 8.2), for instance of a truncated emoji,
/// but `serde_json` refuses the whole document. Input that is not JSON is returned as it is.
pub fn replace_lone_surrogates(json: &[u8]) -> Cow<'_, [u8]> {
    let mut replaced: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(next) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += next;
        at += match (escaped(json, at), escaped(json, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                replaced.get_or_insert_with(|| json.to_vec())[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            // An escaped backslash starts no escape.
            _ => 2,
        };
        if at >= json.len() {
            break;
        }
    }
    replaced.map_or(Cow::Borrowed(json), Cow::Owned)
}

/// The code unit of an escape such as `\u00e9` at `at`.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    // `from_str_radix` would accept a sign.
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(json: &str) -> String {
        serde_json::from_slice(&replace_lone_surrogates(json.as_bytes())).unwrap()
    }

    #[test]
    fn lone_surrogates_are_replaced_and_pairs_are_kept() {
        assert_eq!(text(r#""a\ud83d""#), "a\u{fffd}");
        assert_eq!(text(r#""\ude00\ud83d b""#), "\u{fffd}\u{fffd} b");
        assert_eq!(text(r#""\ud83d\ud83d\ude00""#), "\u{fffd}😀");
        assert_eq!(text(r#""\\ud83d \u00e9\n""#), "\\ud83d é\n");
        assert!(matches!(replace_lone_surrogates(br#"{"a": "\ud83d\ude00"}"#), Cow::Borrowed(_)));
    }

    #[test]
    fn invalid_json_is_left_unchanged() {
        for odd in [&b""[..], b"\\", b"\\u", b"\\ud8", b"\"\\u+d83\"", b"\xff\\"] {
            assert_eq!(*replace_lone_surrogates(odd), *odd);
        }
    }

    proptest! {
        #[test]
        fn valid_text_is_left_unchanged(text in any::<String>()) {
            let json = serde_json::to_vec(&text).unwrap();
            prop_assert_eq!(&*replace_lone_surrogates(&json), &json[..]);
        }

        #[test]
        fn any_escapes_become_readable(codes in proptest::collection::vec(any::<u16>(), 0..20)) {
            let escapes: String = codes.iter().map(|code| format!("\\u{code:04x}")).collect();
            prop_assert_eq!(text(&format!("\"{escapes}\"")), String::from_utf16_lossy(&codes));
        }
    }
}
