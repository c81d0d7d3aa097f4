//! The language of a post.
//!
//! The script decides where one language has it for itself. Elsewhere `whichlang`, which is fast and knows 16 languages, is believed where
//! the text holds words that only its answer uses often; `lingua`, slower by far and right more often, decides the rest.

mod script;
mod words;

use std::sync::OnceLock;

use lingua::{IsoCode639_1, Language, LanguageDetector, LanguageDetectorBuilder};
pub use script::{Script, script_of};

/// What the language of a text without letters is called, as ISO 639 has it: undetermined.
pub const UNDETERMINED: &str = "und";

/// Characters of prose that are looked at: a language does not change its mind after these.
const ENOUGH: usize = 300;

/// The ISO 639-1 code of the language of `prose` (see [`crate::text::prose`]), or [`UNDETERMINED`].
pub fn detect(prose: &str) -> &'static str {
    let end = prose.char_indices().nth(ENOUGH).map_or(prose.len(), |(at, _)| at);
    let prose = &prose[..end];
    let candidates = match script_of(prose) {
        None => return UNDETERMINED,
        Some(Script::One(code)) => return code,
        Some(Script::Han) => return "zh",
        Some(Script::Japanese) => return "ja",
        Some(Script::Latin) => {
            let guess = quick(prose);
            if guess.is_some_and(|guess| words::confirm(guess, prose)) {
                return guess.unwrap_or(UNDETERMINED);
            }
            latin()
        }
        Some(Script::Cyrillic) => cyrillic(),
        Some(Script::Arabic) => arabic(),
    };
    candidates.detect_language_of(prose).map_or_else(|| quick(prose).unwrap_or(UNDETERMINED), code)
}

/// Loads every model that [`detect`] may need, so that the first posts do not wait for it.
pub fn warm_up() {
    for text in ["ein wort", "одно слово", "كلمة واحدة"] {
        detect(text);
    }
}

fn quick(prose: &str) -> Option<&'static str> {
    use whichlang::Lang::{Ara, Cmn, Deu, Eng, Fra, Hin, Ita, Jpn, Kor, Nld, Por, Rus, Spa, Swe, Tur, Vie};
    match whichlang::detect_language(prose) {
        Deu => Some("de"),
        Eng => Some("en"),
        Fra => Some("fr"),
        Ita => Some("it"),
        Nld => Some("nl"),
        Por => Some("pt"),
        Spa => Some("es"),
        Swe => Some("sv"),
        Tur => Some("tr"),
        Vie => Some("vi"),
        // It hashes what it sees, and so may name a language of another script.
        Ara | Cmn | Hin | Jpn | Kor | Rus => None,
    }
}

fn latin() -> &'static LanguageDetector {
    static LATIN: OnceLock<LanguageDetector> = OnceLock::new();
    LATIN.get_or_init(|| {
        use Language::{
            Bokmal, Czech, Danish, Dutch, English, Finnish, French, German, Hungarian, Indonesian, Italian, Polish,
            Portuguese, Romanian, Spanish, Swedish, Turkish, Vietnamese,
        };
        among(&[
            Bokmal, Czech, Danish, Dutch, English, Finnish, French, German, Hungarian, Indonesian, Italian, Polish,
            Portuguese, Romanian, Spanish, Swedish, Turkish, Vietnamese,
        ])
    })
}

fn cyrillic() -> &'static LanguageDetector {
    static CYRILLIC: OnceLock<LanguageDetector> = OnceLock::new();
    CYRILLIC.get_or_init(|| among(&[Language::Bulgarian, Language::Russian, Language::Ukrainian]))
}

fn arabic() -> &'static LanguageDetector {
    static ARABIC: OnceLock<LanguageDetector> = OnceLock::new();
    ARABIC.get_or_init(|| among(&[Language::Arabic, Language::Persian, Language::Urdu]))
}

fn among(languages: &[Language]) -> LanguageDetector {
    LanguageDetectorBuilder::from_languages(languages).build()
}

fn code(language: Language) -> &'static str {
    use IsoCode639_1::{
        AR, BG, CS, DA, DE, EN, ES, FA, FI, FR, HU, ID, IT, NB, NL, PL, PT, RO, RU, SV, TR, UK, UR, VI,
    };
    match language.iso_code_639_1() {
        AR => "ar",
        BG => "bg",
        CS => "cs",
        DA => "da",
        DE => "de",
        EN => "en",
        ES => "es",
        FA => "fa",
        FI => "fi",
        FR => "fr",
        HU => "hu",
        ID => "id",
        IT => "it",
        NB => "nb",
        NL => "nl",
        PL => "pl",
        PT => "pt",
        RO => "ro",
        RU => "ru",
        SV => "sv",
        TR => "tr",
        UK => "uk",
        UR => "ur",
        VI => "vi",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_many_languages_are_told() {
        for (language, sentence) in [
            ("ar", "ذهبت إلى السوق اليوم واشتريت الخبز الطازج"),
            ("bg", "Днес времето е много хубаво и ще отидем на разходка"),
            ("bn", "আজ আবহাওয়া খুব সুন্দর"),
            ("cs", "Dnes je krásné počasí a půjdeme na procházku do parku"),
            ("da", "Vejret er rigtig dejligt i dag, og vi skal ud at gå en tur"),
            ("de", "Heute ist das Wetter schön und wir gehen im Park spazieren"),
            ("el", "Σήμερα ο καιρός είναι πολύ καλός"),
            ("en", "The weather is lovely today and we are going for a walk"),
            ("es", "Hoy hace muy buen tiempo y vamos a dar un paseo por el parque"),
            ("fa", "امروز هوا خیلی خوب است و ما به پارک می‌رویم"),
            ("fi", "Tänään on kaunis ilma ja menemme kävelylle puistoon"),
            ("fr", "Il fait très beau aujourd'hui et nous allons nous promener"),
            ("he", "היום מזג האוויר יפה מאוד"),
            ("hi", "आज मौसम बहुत अच्छा है"),
            ("hu", "Ma nagyon szép az idő, és sétálni megyünk a parkba"),
            ("id", "Hari ini cuacanya sangat bagus dan kami akan pergi jalan-jalan"),
            ("it", "Oggi il tempo è molto bello e andiamo a fare una passeggiata"),
            ("ja", "今日はとても良い天気です"),
            ("ko", "오늘은 날씨가 아주 좋습니다"),
            ("nl", "Het weer is vandaag heel mooi en we gaan wandelen in het park"),
            ("pl", "Dzisiaj jest piękna pogoda i idziemy na spacer do parku"),
            ("pt", "Hoje o tempo está muito bom e não vamos ficar em casa"),
            ("ro", "Astăzi vremea este foarte frumoasă și mergem la plimbare"),
            ("ru", "Сегодня очень хорошая погода, и мы идём гулять"),
            ("sv", "Vädret är väldigt fint idag och vi ska gå ut på en promenad"),
            ("ta", "இன்று வானிலை மிகவும் நன்றாக உள்ளது"),
            ("th", "วันนี้อากาศดีมาก"),
            ("tr", "Bugün hava çok güzel ve parkta yürüyüşe çıkacağız"),
            ("uk", "Сьогодні дуже гарна погода, і ми йдемо гуляти"),
            ("ur", "آج موسم بہت اچھا ہے اور ہم پارک میں سیر کے لیے جا رہے ہیں"),
            ("vi", "Hôm nay thời tiết rất đẹp và chúng tôi đi dạo trong công viên"),
            ("zh", "今天天气很好，我们去公园散步"),
        ] {
            assert_eq!(detect(sentence), language, "{sentence}");
        }
    }

    #[test]
    fn a_text_without_letters_has_no_language() {
        for text in ["", "😀😀", "12 34", "\u{301}"] {
            assert_eq!(detect(text), UNDETERMINED, "{text:?}");
        }
    }
}
