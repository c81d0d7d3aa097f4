//! The languages of the n-gram table.

use super::script::Script;

/// A language of the table. Its number there is its index in [`LANGUAGES`].
#[derive(Debug, Clone, Copy)]
pub struct Language {
    /// ISO 639-1.
    pub code: &'static str,
    /// The name in the crate `lingua-<name>-language-model`, which has its statistics; `None` if
    /// they come from posts.
    pub name: Option<&'static str>,
    pub script: Script,
    /// Log of the prior relative to the common languages, in nats. Negative for languages that are
    /// rare in short texts, so that they do not take words of a related language with many more
    /// speakers. A sentence outweighs it about ten times.
    pub prior: f32,
}

const fn common(code: &'static str, name: &'static str, script: Script) -> Language {
    Language { code, name: Some(name), script, prior: 0.0 }
}

const fn rarer(code: &'static str, name: &'static str, script: Script) -> Language {
    Language { code, name: Some(name), script, prior: -8.0 }
}

use Script::{Arabic, Cyrillic, Latin};

/// The languages of the table, English first. Nynorsk, Malay, Bosnian and Latin are omitted,
/// because their short texts cannot be distinguished from related languages.
pub const LANGUAGES: [Language; 48] = [
    common("en", "english", Latin),
    common("cs", "czech", Latin),
    common("da", "danish", Latin),
    common("de", "german", Latin),
    common("es", "spanish", Latin),
    common("fi", "finnish", Latin),
    common("fr", "french", Latin),
    common("hu", "hungarian", Latin),
    common("id", "indonesian", Latin),
    common("it", "italian", Latin),
    common("nb", "bokmal", Latin),
    common("nl", "dutch", Latin),
    common("pl", "polish", Latin),
    common("pt", "portuguese", Latin),
    common("ro", "romanian", Latin),
    common("sv", "swedish", Latin),
    common("tr", "turkish", Latin),
    common("vi", "vietnamese", Latin),
    common("ru", "russian", Cyrillic),
    common("bg", "bulgarian", Cyrillic),
    common("uk", "ukrainian", Cyrillic),
    common("ar", "arabic", Arabic),
    common("fa", "persian", Arabic),
    common("ur", "urdu", Arabic),
    // Hindi in Latin script, as people mix it with English.
    Language { code: "hi", name: None, script: Latin, prior: -2.0 },
    rarer("af", "afrikaans", Latin),
    rarer("az", "azerbaijani", Latin),
    rarer("ca", "catalan", Latin),
    rarer("cy", "welsh", Latin),
    rarer("eo", "esperanto", Latin),
    rarer("et", "estonian", Latin),
    rarer("eu", "basque", Latin),
    rarer("ga", "irish", Latin),
    rarer("hr", "croatian", Latin),
    rarer("is", "icelandic", Latin),
    rarer("lt", "lithuanian", Latin),
    rarer("lv", "latvian", Latin),
    rarer("sk", "slovak", Latin),
    rarer("sl", "slovene", Latin),
    rarer("so", "somali", Latin),
    rarer("sq", "albanian", Latin),
    rarer("sw", "swahili", Latin),
    rarer("tl", "tagalog", Latin),
    rarer("be", "belarusian", Cyrillic),
    rarer("kk", "kazakh", Cyrillic),
    rarer("mk", "macedonian", Cyrillic),
    rarer("mn", "mongolian", Cyrillic),
    rarer("sr", "serbian", Cyrillic),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_language_is_listed_once_and_fits_the_table() {
        let codes: BTreeSet<_> = LANGUAGES.iter().map(|language| language.code).collect();
        assert_eq!(codes.len(), LANGUAGES.len());
        assert!(LANGUAGES.len() <= 1 << 6);
        assert_eq!(LANGUAGES[0].code, "en");
        assert!(LANGUAGES.iter().all(|language| matches!(language.script, Latin | Cyrillic | Arabic)));
    }
}
