//! Language detection.
//!
//! A script that only one language uses decides alone. Otherwise each language has a character
//! n-gram model: the probability of a letter given up to four preceding ones, smoothed by shorter
//! contexts. The language with the highest probability wins. A table has each n-gram's contribution
//! to the log probability; `examples/learn_language` computes it, and
//! docs/measurements/model-evaluation.md has the figures.

mod catalog;
pub mod ngrams;
mod script;
pub mod table;

pub use catalog::{LANGUAGES, Language};
pub use script::{Script, script_of};

use table::{LEARNT, UNIT};
use unicode_normalization::UnicodeNormalization;

/// The code of a text without letters: undetermined, as in ISO 639-2.
pub const UNDETERMINED: &str = "und";

/// Characters that are read. More of them do not change the result.
const MAX_CHARS: usize = 300;

/// Most nats that one word may count against a language, because every post has foreign words,
/// names and misspellings.
const MAX_WORD_PENALTY: f32 = 18.0;

/// Most nats that an English word may count against a language, because texts of every language
/// have English words.
const MAX_ENGLISH_PENALTY: f32 = 8.0;

/// Index of English in [`LANGUAGES`].
const ENGLISH: usize = 0;

/// Temperature of the softmax over scores (Guo et al., 2017, arXiv:1706.04599). Letters are less
/// independent than the models assume, so raw probabilities are too extreme. Chosen on held-out
/// words and word pairs: about three quarters of those with confidence 0.7 are right.
const TEMPERATURE: f32 = 2.0;

/// A detected language.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detected {
    /// ISO 639-1, or [`UNDETERMINED`].
    pub code: &'static str,
    /// About the share of such answers that are right, 0 to 1. It is 1 if the script decides, and 0
    /// for [`UNDETERMINED`].
    pub confidence: f32,
}

/// Detects the language of `prose`, a result of [`crate::text::prose`].
pub fn detect(prose: &str) -> Detected {
    // The models were trained on composed text (NFC). Truncation comes first, so that a huge text
    // is cheap.
    let prose: String = prose.chars().take(MAX_CHARS).nfc().collect();
    match script_of(&prose) {
        None => Detected { code: UNDETERMINED, confidence: 0.0 },
        Some(Script::Single(code)) => Detected { code, confidence: 1.0 },
        Some(Script::Han) => Detected { code: "zh", confidence: 1.0 },
        Some(Script::Japanese) => Detected { code: "ja", confidence: 1.0 },
        Some(script) => most_likely(&prose, script),
    }
}

fn most_likely(prose: &str, script: Script) -> Detected {
    let candidates = || LANGUAGES.iter().enumerate().filter(move |(_, language)| language.script == script);
    let mut scores = LANGUAGES.map(|language| language.prior);
    ngrams::words(prose, |word| {
        let mut sums = [0i32; LANGUAGES.len()];
        ngrams::hashes(word, |hash| {
            LEARNT.look_up(hash, |language, weight| {
                if let Some(sum) = sums.get_mut(language) {
                    *sum += weight;
                }
            });
        });
        let best = candidates().map(|(number, _)| sums[number]).max().unwrap_or(0);
        let english =
            if script == Script::Latin { nats(best - sums[ENGLISH]) + MAX_ENGLISH_PENALTY } else { MAX_WORD_PENALTY };
        for (score, sum) in scores.iter_mut().zip(sums) {
            *score -= nats(best - sum).min(MAX_WORD_PENALTY).min(english);
        }
    });
    let best = candidates().max_by(|(a, _), (b, _)| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a)));
    let Some((best, language)) = best else { return Detected { code: UNDETERMINED, confidence: 0.0 } };
    let total: f32 = candidates().map(|(number, _)| ((scores[number] - scores[best]) / TEMPERATURE).exp()).sum();
    Detected { code: language.code, confidence: 1.0 / total }
}

fn nats(units: i32) -> f32 {
    units as f32 * UNIT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sentences_of_common_languages_are_detected() {
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
            assert_eq!(detect(sentence).code, language, "{sentence}");
        }
    }

    #[test]
    fn sentences_of_rarer_languages_are_detected() {
        for (language, sentence) in [
            ("af", "Die weer is vandag baie mooi en ons gaan in die park stap"),
            ("be", "Сёння вельмі добрае надвор'е, і мы пойдзем гуляць у парк"),
            ("ca", "Avui fa molt bon temps i anem a fer un passeig pel parc"),
            ("et", "Täna on väga ilus ilm ja me läheme parki jalutama"),
            ("hr", "Danas je vrijeme jako lijepo i idemo u šetnju parkom"),
            ("lt", "Šiandien labai gražus oras ir mes einame pasivaikščioti į parką"),
            ("sk", "Dnes je veľmi pekné počasie a ideme na prechádzku do parku"),
            ("sl", "Danes je zelo lepo vreme in gremo na sprehod v park"),
            ("sr", "Данас је време веома лепо и идемо у шетњу парком"),
        ] {
            assert_eq!(detect(sentence).code, language, "{sentence}");
        }
    }

    #[test]
    fn romanised_hindi_is_detected() {
        for post in [
            "yaar kal ka match dekha kya, bahut mast tha",
            "Mujhe nahi pata tum kya bol rahe ho",
            "sir aap bahut achha kaam kar rahe ho, keep it up",
        ] {
            assert_eq!(detect(post).code, "hi", "{post}");
        }
        for post in ["Sir you are doing a great job, keep it up", "See you in Mumbai tomorrow"] {
            assert_eq!(detect(post).code, "en", "{post}");
        }
    }

    #[test]
    fn unicode_form_and_case_do_not_change_the_language() {
        for (language, text) in [
            ("vi", "Hôm nay thời tiết rất đẹp và chúng tôi đi dạo"),
            ("fr", "Les élèves étaient à l'école cet été"),
            ("ar", "ذهبت إلى السوق اليوم"),
        ] {
            let composed = detect(text);
            assert_eq!(composed.code, language);
            assert_eq!(detect(&text.nfd().collect::<String>()), composed, "decomposed: {text}");
            assert_eq!(detect(&text.to_uppercase()), composed, "in capitals: {text}");
            let marked = crate::text::normalise(&format!("\u{202b}\u{feff}{text}\u{200f}"));
            assert_eq!(detect(&crate::text::prose(&marked)), composed, "with directional marks: {text}");
        }
        assert_eq!(detect("ذَهَبْتُ إِلَى السُّوقِ").code, "ar");
    }

    #[test]
    fn majority_script_decides() {
        for (language, text) in [
            ("ru", "Сегодня купил новый iPhone и очень рад"),
            ("fa", "این آهنگ جدید Coldplay خیلی قشنگه"),
            ("ja", "新しいiPhoneを買いました"),
            ("en", "The word привет means hello in another language"),
        ] {
            assert_eq!(detect(text).code, language, "{text}");
        }
    }

    #[test]
    fn only_the_first_characters_of_a_huge_text_are_read() {
        let sentence = "Das ist ein langer Satz und er hört nicht auf. ";
        let start: String = sentence.repeat(7).chars().take(MAX_CHARS).collect();
        for rest in ["Это уже другой язык. ", "a", "\u{301}", sentence] {
            assert_eq!(detect(&format!("{start}{}", rest.repeat(50_000))), detect(&start), "{rest}");
        }
        assert_eq!(detect(&start).code, "de");
        assert_ne!(detect(&"a".repeat(1_000_000)).code, UNDETERMINED);
        assert_eq!(detect(&"\u{301}".repeat(1_000_000)).code, UNDETERMINED);
    }

    #[test]
    fn sentence_has_a_higher_confidence_than_a_shared_word() {
        let (word, sentence) = (detect("problem"), detect("Das ist wirklich ein großes Problem für uns alle"));
        assert!(word.confidence < 0.5, "{word:?}");
        assert!(sentence.confidence > 0.99, "{sentence:?}");
    }

    #[test]
    fn text_without_letters_is_undetermined() {
        for text in ["", "😀😀", "12 34", "\u{301}"] {
            assert_eq!(detect(text), Detected { code: UNDETERMINED, confidence: 0.0 }, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_language_and_a_confidence(text in any::<String>()) {
            let detected = detect(&text);
            prop_assert!((0.0..=1.0).contains(&detected.confidence));
            prop_assert_eq!(detected.code == UNDETERMINED, detected.confidence == 0.0);
        }

        #[test]
        fn any_unicode_block_is_accepted(text in "\\PC{1,40}", block in 0u32..0x1100) {
            let block: String = (0..0x100).filter_map(|c| char::from_u32(block << 8 | c)).collect();
            detect(&block);
            detect(&format!("{text}{block}"));
        }
    }
}
