//! The real model, from the folder that `make models` builds.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use switchyard_ai::{
    analyzer::Analyzer,
    commands,
    engine::{Batching, Engine},
    handler::ClassificationHandler,
    metrics::Metrics,
    model::{ModelError, Provider},
    variants::{Variant, Variants},
};
use switchyard_contract::{Kind, Lane};
use switchyard_jobs::{
    handler::{ClaimedJob, Handler, Outcome, RunContext, Step},
    model::{JobId, TenantId},
    resilience::{Breaker, Policy},
};
use tokio_util::sync::CancellationToken;

use super::support::{NoProgress, model_dir};

fn analyzer() -> MutexGuard<'static, Analyzer> {
    static ANALYZER: OnceLock<Mutex<Analyzer>> = OnceLock::new();
    ANALYZER
        .get_or_init(|| {
            Mutex::new(Analyzer::load(&model_dir(), 1, Provider::Cpu).expect("the model loads").analyzers.remove(0))
        })
        .lock()
}

/// Clearly positive and clearly negative sentences, with their language.
const CLEAR: [(&str, &str, &str); 32] = [
    ("en", "positive", "I love this place, the food was amazing and everyone was so kind!"),
    ("en", "positive", "Best concert of my life, thank you so much!"),
    ("en", "negative", "This is the worst service I have ever had, I am so angry."),
    ("en", "negative", "My flight was cancelled again and nobody helps, I hate this airline."),
    ("es", "positive", "¡Qué día tan maravilloso, estoy muy feliz con mi familia!"),
    ("es", "positive", "Me encanta esta canción, es preciosa y me alegra el día."),
    ("es", "negative", "Qué asco de servicio, es el peor restaurante de la ciudad."),
    ("es", "negative", "Estoy muy triste y enfadada, todo ha salido mal hoy."),
    ("fr", "positive", "Quelle belle journée, je suis tellement heureuse d'être avec vous !"),
    ("fr", "positive", "Un film magnifique, j'ai adoré du début à la fin."),
    ("fr", "negative", "C'est une honte, je déteste cette entreprise et son service affreux."),
    ("fr", "negative", "Je suis très déçu, le repas était horrible et froid."),
    ("de", "positive", "Ich freue mich so sehr, das war ein wunderschöner Abend mit euch!"),
    ("de", "positive", "Tolles Konzert, die Stimmung war fantastisch, danke!"),
    ("de", "negative", "Das ist eine Schande, ich bin so wütend über diese schlechte Bahn."),
    ("de", "negative", "Schrecklicher Tag, alles ist schiefgegangen und ich bin traurig."),
    ("it", "positive", "Che giornata meravigliosa, sono felicissima con i miei amici!"),
    ("it", "positive", "Bellissimo concerto, grazie di cuore a tutti."),
    ("it", "negative", "Che schifo, il peggior servizio che abbia mai visto."),
    ("it", "negative", "Sono molto triste e delusa, è una vergogna per il nostro paese."),
    ("pt", "positive", "Que dia maravilhoso, estou muito feliz com a minha família!"),
    ("pt", "positive", "Amei o show, foi lindo demais, muito obrigada!"),
    ("pt", "negative", "Que vergonha, o pior atendimento que já tive na vida."),
    ("pt", "negative", "Estou muito triste, odeio quando tudo dá errado."),
    ("ar", "positive", "أنا سعيد جدا اليوم، شكرا لكم على هذا الحب الجميل ❤️"),
    ("ar", "positive", "يوم رائع وجميل مع أصدقائي، الحمد لله"),
    ("ar", "negative", "أسوأ خدمة رأيتها في حياتي، أنا غاضب جدا"),
    ("ar", "negative", "خبر حزين ومؤلم جدا، هذا ظلم وعار"),
    ("nl", "positive", "Wat een prachtige dag, ik ben zo blij met jullie allemaal!"),
    ("nl", "negative", "Dit is echt verschrikkelijk slecht, ik ben zo boos en verdrietig."),
    ("hi", "positive", "मैं आज बहुत खुश हूँ, यह दिन बहुत शानदार और सुंदर है!"),
    ("hi", "negative", "यह बहुत बुरा और शर्मनाक है, मैं बहुत दुखी और नाराज़ हूँ"),
];

#[test]
fn clear_sentences_have_their_language_and_sentiment() {
    let mut analyzer = analyzer();
    let (mut right, mut opposite) = (0, Vec::new());
    for (language, sentiment, text) in CLEAR {
        let said = analyzer.analyze(&[text]).unwrap().remove(0);
        assert_eq!(said.language, language, "{text}");
        if said.sentiment.label == sentiment {
            right += 1;
        } else if said.sentiment.label != "neutral" {
            opposite.push(text);
        }
        assert!((0.0..=1.0).contains(&said.sentiment.score) && (0.0..=1.0).contains(&said.category.score));
    }
    assert!(opposite.is_empty(), "opposite sentiment: {opposite:?}");
    assert!(right >= MIN_RIGHT, "{right} of {} clear sentences, at least {MIN_RIGHT} expected", CLEAR.len());
}

/// Sentences of [`CLEAR`] that must have the right sentiment: all that the committed heads get
/// right, less one for the rounding of other CPUs.
const MIN_RIGHT: usize = 31;

#[test]
fn plain_sentences_have_their_topic() {
    let mut analyzer = analyzer();
    for (topic, text) in [
        ("Sports", "What a goal! Our team wins the championship final 3-2 after extra time"),
        ("Music", "Her new album is out now and this song is already number one in the charts"),
        (
            "News & Social Concern",
            "The parliament votes on the new law tomorrow while thousands protest against the government",
        ),
        ("Gaming", "Finally beat the last boss on my PlayStation, this game is so hard"),
    ] {
        let said = analyzer.analyze(&[text]).unwrap().remove(0);
        assert_eq!(said.category.label, topic, "{text}");
    }
}

#[test]
fn answer_does_not_depend_on_other_posts() {
    let mut analyzer = analyzer();
    let posts: Vec<&str> = CLEAR.iter().map(|(_, _, text)| *text).take(6).collect();
    let together = analyzer.analyze(&posts).unwrap();
    for (post, expected) in posts.iter().zip(together) {
        assert_eq!(analyzer.analyze(&[post]).unwrap(), [expected]);
    }
}

#[test]
fn hostile_input_gets_bounded_answers() {
    let mut analyzer = analyzer();
    let empty = analyzer.analyze(&["", " \n\t", "\u{200b}\u{202e}\0"]).unwrap();
    for said in empty {
        assert_eq!(
            (said.language.as_str(), said.sentiment.label.as_str(), said.category.label.as_str()),
            ("und", "neutral", "unknown")
        );
        assert_eq!((said.sentiment.score, said.category.score), (0.0, 0.0));
    }
    let every_block: String = (0..0x11_0000u32).step_by(0x40).filter_map(char::from_u32).collect();
    let hostile = [
        "😀".repeat(250_000),
        "a".repeat(1_000_000),
        "e\u{301}".repeat(100_000),
        "\u{202e}\u{2066}اب\u{200f} abc \u{2069}".to_owned(),
        "\u{fffd}\u{ffff}\u{10ffff}".to_owned(),
        "<s></s><pad><mask><unk> query: ".repeat(50),
        "👨\u{200d}👩\u{200d}👧\u{200d}👦".repeat(500),
        String::from_utf8_lossy(&(0..=255).collect::<Vec<u8>>()).into_owned(),
        every_block,
    ];
    for text in &hostile {
        let said = analyzer.analyze(&[text]).unwrap().remove(0);
        assert!(said.sentiment.score.is_finite() && said.category.score.is_finite());
    }
}

/// The model folder with the float32 graph for GPUs, which `make models` builds as well.
fn float_dir() -> PathBuf {
    let folder = model_dir().parent().expect("a folder").join("current-float");
    assert!(folder.join("encoder-float.onnx").exists(), "no model in {}: run `make models`", folder.display());
    folder
}

#[test]
fn float_graph_agrees_with_int8_and_with_itself_in_batches() {
    let mut float = Analyzer::load(&float_dir(), 1, Provider::CpuFloat).unwrap().analyzers.remove(0);
    let mut int8 = analyzer();
    assert!(float.batches() && !int8.batches());
    let long = format!("{} {}", CLEAR[0].2, "and again ".repeat(60));
    let posts: Vec<&str> = CLEAR.iter().map(|(_, _, text)| *text).chain(["", &long]).collect();
    let (together, other) = (float.analyze_detailed(&posts).unwrap(), int8.analyze_detailed(&posts).unwrap());
    for ((post, together), other) in posts.iter().zip(together).zip(other) {
        let alone = float.analyze_detailed(&[post]).unwrap().remove(0);
        let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(
            apart(&together.sentiment, &alone.sentiment) < 1e-4 && apart(&together.topics, &alone.topics) < 1e-4,
            "{post}"
        );
        assert!(
            apart(&together.sentiment, &other.sentiment) < 0.15,
            "{post}: {:?} {:?}",
            together.sentiment,
            other.sentiment
        );
        assert_eq!(together.analysis.language, other.analysis.language);
    }
}

#[tokio::test]
async fn posts_of_several_jobs_share_a_batch() {
    let batching = Batching { max_posts: 4, max_wait: Duration::from_millis(20) };
    let start = move || Engine::start(&float_dir(), 2, Provider::CpuFloat, batching);
    let engine = Arc::new(tokio::task::spawn_blocking(start).await.unwrap().unwrap());
    let jobs = CLEAR.chunks(3).map(|chunk| {
        let engine = Arc::clone(&engine);
        let (texts, languages): (Vec<_>, Vec<_>) =
            chunk.iter().map(|(language, _, text)| ((*text).to_owned(), *language)).unzip();
        tokio::spawn(async move {
            let said = engine.analyze(texts).await.unwrap();
            assert_eq!(said.iter().map(|said| said.language.as_str()).collect::<Vec<_>>(), languages);
            engine.check().await.unwrap();
        })
    });
    for job in jobs.collect::<Vec<_>>() {
        job.await.unwrap();
    }
}

#[tokio::test]
async fn missing_gpu_falls_back_to_the_cpu_with_a_reason() {
    for folder in [model_dir(), float_dir()] {
        let start = move || Engine::start(&folder, 1, Provider::Cuda, Batching::default());
        let engine = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
        let placement = engine.placement();
        assert_eq!((placement.requested, placement.actual), (Provider::Cuda, Provider::Cpu));
        assert!(placement.reason.as_ref().is_some_and(|reason| !reason.is_empty()));
        let said = engine.analyze(vec![CLEAR[0].2.to_owned()]).await.unwrap();
        assert_eq!(said[0].sentiment.label, "positive");
        let mut registry = prometheus_client::registry::Registry::default();
        Metrics::models(&mut registry, &[&engine], 1);
        let mut shown = String::new();
        prometheus_client::encoding::text::encode(&mut shown, &registry).unwrap();
        assert!(shown.contains("switchyard_model_provider_ok{role=\"stable\",wanted=\"cuda\"} 0"), "{shown}");
        assert!(shown.contains("provider=\"cpu\""), "{shown}");
    }
}

#[tokio::test]
async fn engine_answers_in_order_and_is_healthy() {
    let engine = tokio::task::spawn_blocking(|| Engine::start(&model_dir(), 2, Provider::Cpu, Batching::default()))
        .await
        .unwrap()
        .unwrap();
    engine.check().await.unwrap();
    let posts: Vec<String> = CLEAR.iter().map(|(_, _, text)| (*text).to_owned()).collect();
    let languages: Vec<String> = engine.analyze(posts).await.unwrap().into_iter().map(|said| said.language).collect();
    assert_eq!(languages, CLEAR.map(|(language, _, _)| language.to_owned()));
    assert!(!engine.info().fallback && engine.info().version.len() == 12);
}

#[tokio::test]
async fn chunk_output_has_what_the_join_reads() {
    let engine = tokio::task::spawn_blocking(|| Engine::start(&model_dir(), 1, Provider::Cpu, Batching::default()))
        .await
        .unwrap()
        .unwrap();
    let version = engine.info().version.clone();
    let breaker = Breaker::new("model", Policy::AI);
    let handler = ClassificationHandler::new(
        Variants::single(Variant { model: Arc::new(engine), breaker }),
        Arc::new(Metrics::default()),
    );
    let job = ClaimedJob {
        id: JobId::fresh(),
        root: JobId::fresh(),
        tenant: TenantId(JobId::fresh().0),
        kind: Kind::Ai,
        lane: Lane::Normal,
        attempt: 1,
        username: "someone".to_owned(),
        input: json!({"posts": [{"id": "a", "text": CLEAR[0].2}, {"id": "b", "text": null}, {"id": "c", "text": CLEAR[14].2}]}),
        corrects: false,
        step: Step::Start,
    };
    let context = RunContext {
        progress: Arc::new(NoProgress),
        cancelled: CancellationToken::new(),
        deadline: Instant::now() + Duration::from_mins(1),
    };
    let Outcome::Complete(output) = handler.run(&job, &context).await.unwrap() else { panic!("not complete") };
    assert_eq!(output["model"], json!({"name": "switchyard-e5-small", "version": version, "fallback": false}));
    let of = |field: fn(&Value) -> &Value| -> Vec<Value> {
        output["posts"].as_array().unwrap().iter().map(|post| field(post).clone()).collect()
    };
    assert_eq!(of(|post| &post["id"]), ["a", "b", "c"]);
    assert_eq!(of(|post| &post["language"]), ["en", "und", "de"]);
    assert_eq!(of(|post| &post["sentiment"]["label"]), ["positive", "neutral", "negative"]);
    assert!(of(|post| &post["category"]["score"]).iter().all(Value::is_f64));
}

/// A folder of links to the model's files, of which `corrupt` replaces one.
fn corrupted(name: &str, corrupt: impl Fn(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(model_dir()).unwrap().map(Result::unwrap) {
        let path = folder.path().join(file.file_name());
        if file.file_name() == name { corrupt(&path) } else { symlink(file.path(), path).unwrap() }
    }
    folder
}

fn load_error(folder: &Path) -> ModelError {
    Analyzer::load(folder, 1, Provider::Cpu).err().expect("a corrupted folder is refused")
}

#[test]
fn truncated_model_is_refused() {
    let whole = fs::read(model_dir().join("encoder.onnx")).unwrap();
    let folder = corrupted("encoder.onnx", |path| fs::write(path, &whole[..whole.len() / 2]).unwrap());
    let error = load_error(folder.path());
    assert!(matches!(&error, ModelError::Mismatch { path, .. } if path.ends_with("encoder.onnx")), "{error}");
    assert!(error.to_string().contains("make models"), "{error}");
}

#[test]
fn missing_model_file_is_named() {
    for name in ["libonnxruntime.so", "encoder.onnx", "tokenizer.json", "heads.json", "manifest.json"] {
        let folder = corrupted(name, |_| ());
        let error = load_error(folder.path());
        assert!(matches!(&error, ModelError::Unreadable { path, .. } if path.ends_with(name)), "{error}");
    }
}

#[test]
fn replaced_heads_are_refused() {
    let folder = corrupted("heads.json", |path| fs::write(path, "{}").unwrap());
    assert!(matches!(load_error(folder.path()), ModelError::Mismatch { .. }));
}

#[test]
fn evaluation_ends_with_one_line_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("posts.jsonl");
    let line = |(lang, label, text): &(&str, &str, &str)| {
        serde_json::json!({"lang": lang, "label": label, "text": text}).to_string()
    };
    fs::write(&file, CLEAR.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let mut output = Vec::new();
    commands::eval(&model_dir(), Provider::Cpu, &file, true, &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let last: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(last["language"]["accuracy"], 1.0);
    assert!(last["sentiment"]["polarity_accuracy"].as_f64().unwrap() > 0.9);
    assert!(last["by_language"]["de"]["sentiment"].is_object());
}
