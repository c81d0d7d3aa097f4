//! The language of a post.
//!
//! The script decides where one language has it for itself. Elsewhere each language is a model of how its words are made, letter after letter: the
//! probability of a letter given up to four before it, smoothed by those given fewer. The text is in the language whose model makes
//! it likeliest. A table holds, for each n-gram, what it adds to the log of that probability; docs/models.md tells how it was learnt.

mod catalog;
pub mod ngrams;
mod script;
pub mod table;

pub use catalog::{LANGUAGES, Language};
pub use script::{Script, script_of};
use table::{LEARNT, UNIT};
use unicode_normalization::UnicodeNormalization;

/// What the language of a text without letters is called, as ISO 639 has it: undetermined.
pub const UNDETERMINED: &str = "und";

/// Characters of prose that are looked at: a language does not change its mind after these.
const ENOUGH: usize = 300;

/// The most, in nats, that one word may speak against a language: words from elsewhere, names and misspellings are in every post.
const WORD_LIMIT: f32 = 18.0;

/// The most that an English word may speak against a language, since there are English words in texts of every language.
const ENGLISH_LIMIT: f32 = 8.0;

/// The number of English in [`LANGUAGES`].
const ENGLISH: usize = 0;

/// What scores are divided by before they become a confidence: letters hang together more than the models have it, and so their probabilities
/// lie too far apart. Chosen on single words and pairs that nothing was learnt from: of those with confidence 0.7, some three quarters are right.
const SOFTENING: f32 = 2.0;

/// A language and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detected {
    /// ISO 639-1, or [`UNDETERMINED`].
    pub code: &'static str,
    /// About how often such an answer is right, from 0 to 1; 1 where the script decides, 0 for [`UNDETERMINED`].
    pub confidence: f32,
}

/// The language of `prose` (see [`crate::text::prose`]).
pub fn detect(prose: &str) -> Detected {
    // Composed, since that is what the models have seen; what is cut off is cut off before, so that a huge text costs nothing.
    let prose: String = prose.chars().take(ENOUGH).nfc().collect();
    match script_of(&prose) {
        None => Detected { code: UNDETERMINED, confidence: 0.0 },
        Some(Script::One(code)) => Detected { code, confidence: 1.0 },
        Some(Script::Han) => Detected { code: "zh", confidence: 1.0 },
        Some(Script::Japanese) => Detected { code: "ja", confidence: 1.0 },
        Some(script) => likeliest(&prose, script),
    }
}

fn likeliest(prose: &str, script: Script) -> Detected {
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
        let english = if script == Script::Latin { nats(best - sums[ENGLISH]) + ENGLISH_LIMIT } else { WORD_LIMIT };
        for (score, sum) in scores.iter_mut().zip(sums) {
            *score -= nats(best - sum).min(WORD_LIMIT).min(english);
        }
    });
    let best = candidates().max_by(|(a, _), (b, _)| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a)));
    let Some((best, language)) = best else { return Detected { code: UNDETERMINED, confidence: 0.0 } };
    let all: f32 = candidates().map(|(number, _)| ((scores[number] - scores[best]) / SOFTENING).exp()).sum();
    Detected { code: language.code, confidence: 1.0 / all }
}

#[allow(clippy::cast_precision_loss, reason = "a word has fewer than 2^24 units")]
fn nats(units: i32) -> f32 {
    units as f32 * UNIT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            assert_eq!(detect(sentence).code, language, "{sentence}");
        }
    }

    #[test]
    fn sentences_of_rarer_languages_are_told() {
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
    fn hindi_is_told_in_latin_letters_too() {
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
    fn how_a_text_is_written_does_not_change_its_language() {
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
            assert_eq!(detect(&crate::text::prose(&marked)), composed, "with marks of direction: {text}");
        }
        assert_eq!(detect("ذَهَبْتُ إِلَى السُّوقِ").code, "ar");
    }

    #[test]
    fn the_script_of_most_letters_counts() {
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
    fn a_huge_text_takes_no_longer_than_its_beginning() {
        let began = std::time::Instant::now();
        assert_eq!(detect(&"Das ist ein langer Satz und er hört nicht auf. ".repeat(22_000)).code, "de");
        assert_ne!(detect(&"a".repeat(1_000_000)).code, UNDETERMINED);
        assert_eq!(detect(&"\u{301}".repeat(1_000_000)).code, UNDETERMINED);
        assert!(began.elapsed().as_millis() < 500, "{:?}", began.elapsed());
    }

    #[test]
    fn confidence_is_higher_for_a_sentence_than_for_a_word_that_many_share() {
        let (word, sentence) = (detect("problem"), detect("Das ist wirklich ein großes Problem für uns alle"));
        assert!(word.confidence < 0.5, "{word:?}");
        assert!(sentence.confidence > 0.99, "{sentence:?}");
    }

    #[test]
    fn a_text_without_letters_has_no_language() {
        for text in ["", "😀😀", "12 34", "\u{301}"] {
            assert_eq!(detect(text), Detected { code: UNDETERMINED, confidence: 0.0 }, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_language_with_a_confidence(text in any::<String>()) {
            let said = detect(&text);
            prop_assert!((0.0..=1.0).contains(&said.confidence));
            prop_assert_eq!(said.code == UNDETERMINED, said.confidence == 0.0);
        }

        #[test]
        fn any_letters_of_any_block_have_one(text in "\\PC{1,40}", block in 0u32..0x1100) {
            let block: String = (0..0x100).filter_map(|c| char::from_u32(block << 8 | c)).collect();
            detect(&block);
            detect(&format!("{text}{block}"));
        }
    }
}
