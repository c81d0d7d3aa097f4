//! Fuzz target of the text path: reading, normalising, language detection, rules and tokenizing
//! must stay within bounds for any bytes.

#![no_main]

use std::{path::PathBuf, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use switchyard_ai::{
    commands::lines,
    language, lexicon,
    model::{Encoder, Folder, MAX_TOKENS, Provider},
    text,
};

/// The encoder, whose tokenizer is fuzzed as well if SWITCHYARD_MODEL_DIR is set.
fn encoder() -> Option<&'static Encoder> {
    static ENCODER: OnceLock<Option<Encoder>> = OnceLock::new();
    let load = |root: PathBuf| {
        let folder = Folder::open(&root).expect("a model folder");
        Encoder::load(&folder, 1, Provider::Cpu).expect("a model").encoders.remove(0)
    };
    ENCODER.get_or_init(|| std::env::var_os("SWITCHYARD_MODEL_DIR").map(PathBuf::from).map(load)).as_ref()
}

fuzz_target!(|bytes: &[u8]| {
    for line in lines(bytes) {
        let post = line.expect("memory can be read");
        let normal = text::normalise(&post);
        assert!(normal.chars().count() <= text::MAX_CHARS);
        assert_eq!(text::normalise(&normal), normal, "normalising is idempotent");
        let prose = text::prose(&normal);
        let detected = language::detect(&prose);
        assert!((0.0..=1.0).contains(&detected.confidence) && (2..=3).contains(&detected.code.len()), "{detected:?}");
        let rules = lexicon::analyze(&post);
        assert!(
            (0.0..=1.0).contains(&rules.sentiment.score) && (0.0..=1.0).contains(&rules.category.score),
            "{rules:?}"
        );
        if let Some(encoder) = encoder() {
            let tokens = encoder.tokens(&normal).expect("tokens");
            assert!((2..=MAX_TOKENS).contains(&tokens.len()), "{} tokens", tokens.len());
        }
    }
});
