//! Language names of public datasets.

/// The ISO 639-1 code of `lang`, an English name or a code as datasets write it. Unknown names are
/// returned in lower case.
pub(super) fn code(lang: &str) -> String {
    let lang = lang.to_ascii_lowercase();
    let code = match lang.as_str() {
        "arabic" => "ar",
        "bengali" => "bn",
        "bokmal" | "norwegian" | "no" => "nb",
        "bulgarian" => "bg",
        "chinese" => "zh",
        "czech" => "cs",
        "danish" => "da",
        "dutch" => "nl",
        "english" => "en",
        "finnish" => "fi",
        "french" => "fr",
        "german" => "de",
        "greek" | "gr" => "el",
        "hebrew" => "he",
        "hindi" => "hi",
        "hungarian" => "hu",
        "indonesian" => "id",
        "italian" => "it",
        "japanese" | "jp" => "ja",
        "korean" => "ko",
        "persian" => "fa",
        "polish" => "pl",
        "portuguese" => "pt",
        "romanian" => "ro",
        "russian" => "ru",
        "spanish" => "es",
        "swedish" => "sv",
        "tamil" => "ta",
        "thai" => "th",
        "turkish" => "tr",
        "ukrainian" => "uk",
        "urdu" => "ur",
        "vietnamese" => "vi",
        other => other,
    };
    code.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_names_become_codes() {
        assert_eq!((code("English"), code("gr"), code("ja")), ("en".to_owned(), "el".to_owned(), "ja".to_owned()));
    }
}
