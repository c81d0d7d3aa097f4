//! How often the models are right, on posts whose labels are known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::analyzer::Detail;

/// A labelled post, one JSON object a line; every label is optional.
#[derive(Debug, Clone, Deserialize)]
pub struct Labelled {
    /// An ISO 639-1 code or an English name.
    #[serde(default)]
    pub lang: Option<String>,
    pub text: String,
    /// negative, neutral or positive.
    #[serde(default)]
    pub label: Option<String>,
    #[serde(default)]
    pub topics: Option<Vec<String>>,
}

/// What the models said about a labelled post, reduced to what the figures need.
#[derive(Debug, Clone)]
pub struct Judged {
    language: Option<(String, String)>,
    /// Right and said, as indices into negative, neutral, positive, and the confidence.
    sentiment: Option<(usize, usize, f32)>,
    /// For a post that is not neutral, whether the better of negative and positive is right.
    polarity: Option<bool>,
    /// The best topic's confidence, and whether it is among the labels.
    topic: Option<(f32, bool)>,
}

/// Negative, neutral, positive: the order of the sentiment head.
const SENTIMENTS: [&str; 3] = ["negative", "neutral", "positive"];

impl Judged {
    /// Compares what was said with what is right.
    pub fn new(post: &Labelled, said: &Detail) -> Self {
        let language = post.lang.as_deref().map(|lang| (code(lang), said.analysis.language.clone()));
        let place = |label: &str| SENTIMENTS.iter().position(|known| *known == label);
        let sentiment = post
            .label
            .as_deref()
            .and_then(place)
            .zip(place(&said.analysis.sentiment.label))
            .map(|(right, label)| (right, label, said.analysis.sentiment.score));
        let polarity = match sentiment {
            Some((right @ (0 | 2), ..)) => {
                let positive = said.sentiment.len() == 3 && said.sentiment[2] > said.sentiment[0];
                Some(positive == (right == 2))
            }
            _ => None,
        };
        let topic = post
            .topics
            .as_ref()
            .map(|topics| (said.analysis.category.score, topics.contains(&said.analysis.category.label)));
        Self { language, sentiment, polarity, topic }
    }
}

/// Figures over some posts; a part without labels is absent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentiment: Option<Sentiment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<Topics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
}

/// All figures: over all posts, and for each language.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub all: Figures,
    pub by_language: BTreeMap<String, Figures>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Sentiment {
    pub posts: usize,
    pub accuracy: f64,
    /// Mean of the F1 of the classes that are labelled or said at all.
    pub macro_f1: f64,
    /// Of the posts labelled negative or positive, those where the better of these two is right.
    pub polarity_accuracy: f64,
    /// Rows are what is right, columns what was said: negative, neutral, positive.
    pub confusion: [[usize; 3]; 3],
    #[serde(flatten)]
    pub sureness: Sureness,
}

#[derive(Debug, Clone, Serialize)]
pub struct Topics {
    pub posts: usize,
    /// Posts whose best topic is among the labels.
    pub top1: f64,
    /// The largest part of the posts, the most confident ones, of which 85 % have a right best topic.
    pub coverage_at_85: f64,
    #[serde(flatten)]
    pub sureness: Sureness,
}

/// What the confidence is worth.
#[derive(Debug, Clone, Serialize)]
pub struct Sureness {
    /// Accuracy of the most confident 20, 40, 60, 80 and 100 % of the posts.
    pub coverage_curve: Vec<(f64, f64)>,
    /// Mean distance between confidence and accuracy, over ten bins of equal width (expected calibration error).
    pub calibration_error: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Language {
    pub posts: usize,
    pub accuracy: f64,
}

/// The figures over `judged`.
pub fn report(judged: &[Judged]) -> Report {
    let mut by_language: BTreeMap<String, Vec<&Judged>> = BTreeMap::new();
    for one in judged {
        if let Some((language, _)) = &one.language {
            by_language.entry(language.clone()).or_default().push(one);
        }
    }
    Report {
        all: figures(&judged.iter().collect::<Vec<_>>()),
        by_language: by_language.into_iter().map(|(language, some)| (language, figures(&some))).collect(),
    }
}

fn figures(judged: &[&Judged]) -> Figures {
    Figures { sentiment: sentiment(judged), topics: topics(judged), language: language(judged) }
}

#[allow(clippy::cast_precision_loss, reason = "counts of classes")]
fn sentiment(judged: &[&Judged]) -> Option<Sentiment> {
    let mut confusion = [[0usize; 3]; 3];
    let mut answers = Vec::new();
    for (right, said, score) in judged.iter().filter_map(|one| one.sentiment) {
        confusion[right][said] += 1;
        answers.push((score, right == said));
    }
    let posts: usize = confusion.iter().flatten().sum();
    let f1 = |class: usize| {
        let labelled: usize = confusion[class].iter().sum();
        let said: usize = confusion.iter().map(|row| row[class]).sum();
        (labelled + said > 0).then(|| part(2 * confusion[class][class], labelled + said))
    };
    let f1s: Vec<f64> = (0..3).filter_map(f1).collect();
    let polarity: Vec<bool> = judged.iter().filter_map(|one| one.polarity).collect();
    (posts > 0).then(|| Sentiment {
        posts,
        accuracy: part((0..3).map(|class| confusion[class][class]).sum(), posts),
        macro_f1: f1s.iter().sum::<f64>() / f1s.len() as f64,
        polarity_accuracy: part(polarity.iter().filter(|right| **right).count(), polarity.len()),
        confusion,
        sureness: Surest::of(answers).sureness(),
    })
}

fn topics(judged: &[&Judged]) -> Option<Topics> {
    let surest = Surest::of(judged.iter().filter_map(|one| one.topic).collect());
    let posts = surest.answers.len();
    (posts > 0).then(|| Topics {
        posts,
        top1: surest.accuracy(posts),
        coverage_at_85: part((1..=posts).rev().find(|count| surest.accuracy(*count) >= 0.85).unwrap_or(0), posts),
        sureness: surest.sureness(),
    })
}

/// Answers, the surest first: their confidence and whether they are right.
struct Surest {
    answers: Vec<(f32, bool)>,
    /// How many of the first n + 1 are right.
    right_of: Vec<usize>,
}

impl Surest {
    fn of(mut answers: Vec<(f32, bool)>) -> Self {
        answers.sort_by(|a, b| b.0.total_cmp(&a.0));
        let right_of = answers.iter().scan(0, |right, (_, is_right)| {
            *right += usize::from(*is_right);
            Some(*right)
        });
        Self { right_of: right_of.collect(), answers }
    }

    /// Of the first `count`.
    fn accuracy(&self, count: usize) -> f64 {
        if count == 0 { 0.0 } else { part(self.right_of[count - 1], count) }
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ten bins")]
    fn sureness(&self) -> Sureness {
        let mut bins = [0.0f64; 10];
        for (score, right) in &self.answers {
            bins[((score * 10.0) as usize).min(9)] += f64::from(*score) - f64::from(u8::from(*right));
        }
        Sureness {
            coverage_curve: [20, 40, 60, 80, 100]
                .map(|percent| (f64::from(percent) / 100.0, self.accuracy(self.answers.len() * percent as usize / 100)))
                .into(),
            calibration_error: bins.iter().map(|bin| bin.abs()).sum::<f64>() / (self.answers.len().max(1) as f64),
        }
    }
}

fn language(judged: &[&Judged]) -> Option<Language> {
    let told: Vec<bool> =
        judged.iter().filter_map(|one| one.language.as_ref()).map(|(right, said)| right == said).collect();
    (!told.is_empty()).then(|| Language {
        posts: told.len(),
        accuracy: part(told.iter().filter(|right| **right).count(), told.len()),
    })
}

#[allow(clippy::cast_precision_loss, reason = "counts of posts")]
fn part(some: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { some as f64 / all as f64 }
}

/// The code of a language that a data set calls by its English name or by another code.
fn code(lang: &str) -> String {
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

    fn judged(lang: &str, said: &str, sentiment: (usize, usize), topic: (f32, bool)) -> Judged {
        Judged {
            language: Some((lang.to_owned(), said.to_owned())),
            sentiment: Some((sentiment.0, sentiment.1, 0.75)),
            polarity: (sentiment.0 != 1).then_some(sentiment.0 == sentiment.1),
            topic: Some(topic),
        }
    }

    #[test]
    fn figures_are_what_they_say() {
        let report = report(&[
            judged("en", "en", (0, 0), (0.9, true)),
            judged("en", "de", (2, 1), (0.8, true)),
            judged("de", "de", (1, 1), (0.3, false)),
            judged("de", "de", (2, 2), (0.7, true)),
        ]);
        let sentiment = report.all.sentiment.unwrap();
        assert_eq!(sentiment.accuracy, 0.75);
        assert_eq!(sentiment.confusion, [[1, 0, 0], [0, 1, 0], [0, 1, 1]]);
        assert!((sentiment.macro_f1 - (1.0 + 2.0 / 3.0 + 2.0 / 3.0) / 3.0).abs() < 1e-9);
        assert!((sentiment.polarity_accuracy - 2.0 / 3.0).abs() < 1e-9);
        assert!(sentiment.sureness.calibration_error.abs() < 1e-9, "three of four are right, at 0.75 each");
        let topics = report.all.topics.unwrap();
        assert_eq!((topics.top1, topics.coverage_at_85), (0.75, 0.75));
        assert_eq!(topics.sureness.coverage_curve[4], (1.0, 0.75));
        let apart = (0.1 + 0.2 + 0.3 + 0.3) / 4.0;
        assert!((topics.sureness.calibration_error - apart).abs() < 1e-6);
        assert_eq!(report.all.language.unwrap().accuracy, 0.75);
        assert_eq!(report.by_language["de"].language.as_ref().unwrap().accuracy, 1.0);
    }

    #[test]
    fn names_of_data_sets_are_understood() {
        assert_eq!((code("English"), code("gr"), code("ja")), ("en".to_owned(), "el".to_owned(), "ja".to_owned()));
    }

    #[test]
    fn nothing_to_judge_is_no_figure() {
        let report = report(&[]);
        assert!(report.all.sentiment.is_none() && report.all.topics.is_none() && report.by_language.is_empty());
    }
}
