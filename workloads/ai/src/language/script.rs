//! Script detection.

/// A script, as far as it determines or narrows the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    Latin,
    Cyrillic,
    Arabic,
    /// Chinese characters, with at most a tenth of kana.
    Han,
    /// Kana, alone or with Chinese characters.
    Japanese,
    /// A script of one major language; its ISO 639-1 code.
    Single(&'static str),
}

const KANA: usize = 3;
const HAN: usize = 4;
const LATIN: usize = 0;
const CYRILLIC: usize = 1;
const ARABIC: usize = 2;

/// Scripts of one language each: its code, the first and the last code point.
const SINGLE_SCRIPTS: [(&str, u32, u32); 20] = [
    ("el", 0x370, 0x3ff),
    ("el", 0x1f00, 0x1fff),
    ("hy", 0x530, 0x58f),
    ("he", 0x590, 0x5ff),
    ("hi", 0x900, 0x97f),
    ("bn", 0x980, 0x9ff),
    ("pa", 0xa00, 0xa7f),
    ("gu", 0xa80, 0xaff),
    ("or", 0xb00, 0xb7f),
    ("ta", 0xb80, 0xbff),
    ("te", 0xc00, 0xc7f),
    ("kn", 0xc80, 0xcff),
    ("ml", 0xd00, 0xd7f),
    ("si", 0xd80, 0xdff),
    ("th", 0xe00, 0xe7f),
    ("lo", 0xe80, 0xeff),
    ("my", 0x1000, 0x109f),
    ("ka", 0x10a0, 0x10ff),
    ("km", 0x1780, 0x17ff),
    ("ko", 0xac00, 0xd7af),
];

/// The script of most letters; `None` without letters of a known script.
pub fn script_of(text: &str) -> Option<Script> {
    let mut shared = [0usize; 5];
    let mut single = [0usize; SINGLE_SCRIPTS.len()];
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        match c as u32 {
            0x41..=0x24f | 0x1e00..=0x1eff => shared[LATIN] += 1,
            0x400..=0x52f => shared[CYRILLIC] += 1,
            0x600..=0x6ff | 0x750..=0x77f | 0xfb50..=0xfdff | 0xfe70..=0xfeff => shared[ARABIC] += 1,
            0x3040..=0x30ff | 0x31f0..=0x31ff | 0xff66..=0xff9f => shared[KANA] += 1,
            0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3134f => shared[HAN] += 1,
            code => {
                if let Some(index) = SINGLE_SCRIPTS.iter().position(|(_, first, last)| (*first..=*last).contains(&code))
                {
                    single[index] += 1;
                }
            }
        }
    }
    let east_asian = shared[KANA] + shared[HAN];
    let (best_single, &single_count) = single.iter().enumerate().max_by_key(|(_, count)| **count)?;
    let most = shared[..3].iter().copied().chain([east_asian, single_count]).max()?;
    match most {
        0 => None,
        most if most == single_count => Some(Script::Single(SINGLE_SCRIPTS[best_single].0)),
        // Japanese text always contains kana, Chinese text does not.
        most if most == east_asian => Some(if shared[KANA] * 10 > east_asian { Script::Japanese } else { Script::Han }),
        most if most == shared[CYRILLIC] => Some(Script::Cyrillic),
        most if most == shared[ARABIC] => Some(Script::Arabic),
        _ => Some(Script::Latin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_is_that_of_most_letters() {
        for (text, script) in [
            ("good morning", Some(Script::Latin)),
            ("доброе утро", Some(Script::Cyrillic)),
            ("صباح الخير", Some(Script::Arabic)),
            ("早上好", Some(Script::Han)),
            ("今日は良い天気", Some(Script::Japanese)),
            ("καλημέρα iPhone", Some(Script::Single("el"))),
            ("좋은 아침", Some(Script::Single("ko"))),
            ("सुप्रभात", Some(Script::Single("hi"))),
            ("123 😀", None),
            ("", None),
        ] {
            assert_eq!(script_of(text), script, "{text}");
        }
    }
}
