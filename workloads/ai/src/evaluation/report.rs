//! Figures over judgements: accuracy, F1, coverage and calibration.

use std::collections::BTreeMap;

use serde::Serialize;

use super::judgement::Judgement;

/// Figures over some posts. A question without labels is absent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentiment: Option<Sentiment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<Topics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
}

/// Figures over all posts, and by language.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub all: Figures,
    pub by_language: BTreeMap<String, Figures>,
}

/// Figures of the sentiment. Shares are 0 to 1.
#[derive(Debug, Clone, Serialize)]
pub struct Sentiment {
    pub posts: usize,
    pub accuracy: f64,
    /// Mean F1 of the classes that are labelled or predicted at least once.
    pub macro_f1: f64,
    /// Share of the posts labelled negative or positive for which the more likely of the two is
    /// right.
    pub polarity_accuracy: f64,
    /// Rows are labels, columns are predictions: negative, neutral, positive.
    pub confusion: [[usize; 3]; 3],
    #[serde(flatten)]
    pub confidence: Confidence,
}

/// Figures of the topics. Shares are 0 to 1.
#[derive(Debug, Clone, Serialize)]
pub struct Topics {
    pub posts: usize,
    /// Share of the posts whose best topic is among the labels.
    pub top1: f64,
    /// The largest share of the posts, by descending confidence, of which 85 % have a right best
    /// topic.
    pub coverage_at_85: f64,
    #[serde(flatten)]
    pub confidence: Confidence,
}

/// How far the confidence can be relied on.
#[derive(Debug, Clone, Serialize)]
pub struct Confidence {
    /// Share of the most confident posts, and their accuracy: at 20, 40, 60, 80 and 100 %.
    pub coverage_curve: Vec<(f64, f64)>,
    /// Expected calibration error (Naeini et al., 2015) over ten bins of equal width: the mean
    /// distance between confidence and accuracy.
    pub calibration_error: f64,
}

/// Figures of the language detection. Shares are 0 to 1.
#[derive(Debug, Clone, Serialize)]
pub struct Language {
    pub posts: usize,
    pub accuracy: f64,
}

/// The figures over `judgements`.
pub fn report(judgements: &[Judgement]) -> Report {
    let mut by_language: BTreeMap<String, Vec<&Judgement>> = BTreeMap::new();
    for one in judgements {
        if let Some((language, _)) = &one.language {
            by_language.entry(language.clone()).or_default().push(one);
        }
    }
    Report {
        all: figures(&judgements.iter().collect::<Vec<_>>()),
        by_language: by_language.into_iter().map(|(language, some)| (language, figures(&some))).collect(),
    }
}

fn figures(judgements: &[&Judgement]) -> Figures {
    Figures { sentiment: sentiment(judgements), topics: topics(judgements), language: language(judgements) }
}

fn sentiment(judgements: &[&Judgement]) -> Option<Sentiment> {
    let mut confusion = [[0usize; 3]; 3];
    let mut answers = Vec::new();
    for (label, prediction, score) in judgements.iter().filter_map(|one| one.sentiment) {
        confusion[label][prediction] += 1;
        answers.push((score, label == prediction));
    }
    let posts: usize = confusion.iter().flatten().sum();
    let f1 = |class: usize| {
        let labelled: usize = confusion[class].iter().sum();
        let predicted: usize = confusion.iter().map(|row| row[class]).sum();
        (labelled + predicted > 0).then(|| share(2 * confusion[class][class], labelled + predicted))
    };
    let f1s: Vec<f64> = (0..3).filter_map(f1).collect();
    let polarity: Vec<bool> = judgements.iter().filter_map(|one| one.polarity).collect();
    (posts > 0).then(|| Sentiment {
        posts,
        accuracy: share((0..3).map(|class| confusion[class][class]).sum(), posts),
        macro_f1: f1s.iter().sum::<f64>() / f1s.len() as f64,
        polarity_accuracy: share(polarity.iter().filter(|right| **right).count(), polarity.len()),
        confusion,
        confidence: RankedAnswers::of(answers).confidence(),
    })
}

fn topics(judgements: &[&Judgement]) -> Option<Topics> {
    let ranked = RankedAnswers::of(judgements.iter().filter_map(|one| one.topic).collect());
    let posts = ranked.answers.len();
    (posts > 0).then(|| Topics {
        posts,
        top1: ranked.accuracy(posts),
        coverage_at_85: share((1..=posts).rev().find(|count| ranked.accuracy(*count) >= 0.85).unwrap_or(0), posts),
        confidence: ranked.confidence(),
    })
}

/// Answers by descending confidence: the confidence, and whether the answer is right.
struct RankedAnswers {
    answers: Vec<(f32, bool)>,
    /// At index n, the right answers among the first n + 1.
    right_counts: Vec<usize>,
}

impl RankedAnswers {
    fn of(mut answers: Vec<(f32, bool)>) -> Self {
        answers.sort_by(|a, b| b.0.total_cmp(&a.0));
        let right_counts = answers.iter().scan(0, |right, (_, is_right)| {
            *right += usize::from(*is_right);
            Some(*right)
        });
        Self { right_counts: right_counts.collect(), answers }
    }

    /// Accuracy of the first `count` answers.
    fn accuracy(&self, count: usize) -> f64 {
        if count == 0 { 0.0 } else { share(self.right_counts[count - 1], count) }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ten bins")]
    fn confidence(&self) -> Confidence {
        let mut bins = [0.0f64; 10];
        for (score, right) in &self.answers {
            bins[((score * 10.0) as usize).min(9)] += f64::from(*score) - f64::from(u8::from(*right));
        }
        Confidence {
            coverage_curve: [20, 40, 60, 80, 100]
                .map(|percent| (f64::from(percent) / 100.0, self.accuracy(self.answers.len() * percent as usize / 100)))
                .into(),
            calibration_error: bins.iter().map(|bin| bin.abs()).sum::<f64>() / (self.answers.len().max(1) as f64),
        }
    }
}

fn language(judgements: &[&Judgement]) -> Option<Language> {
    let answers: Vec<bool> = judgements
        .iter()
        .filter_map(|one| one.language.as_ref())
        .map(|(label, prediction)| label == prediction)
        .collect();
    (!answers.is_empty()).then(|| Language {
        posts: answers.len(),
        accuracy: share(answers.iter().filter(|right| **right).count(), answers.len()),
    })
}

fn share(count: usize, total: usize) -> f64 {
    if total == 0 { 0.0 } else { count as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(lang: &str, predicted: &str, sentiment: (usize, usize), topic: (f32, bool)) -> Judgement {
        Judgement {
            language: Some((lang.to_owned(), predicted.to_owned())),
            sentiment: Some((sentiment.0, sentiment.1, 0.75)),
            polarity: (sentiment.0 != 1).then_some(sentiment.0 == sentiment.1),
            topic: Some(topic),
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact results")]
    fn report_figures_are_correct() {
        let report = report(&[
            judgement("en", "en", (0, 0), (0.9, true)),
            judgement("en", "de", (2, 1), (0.8, true)),
            judgement("de", "de", (1, 1), (0.3, false)),
            judgement("de", "de", (2, 2), (0.7, true)),
        ]);
        let sentiment = report.all.sentiment.unwrap();
        assert_eq!(sentiment.accuracy, 0.75);
        assert_eq!(sentiment.confusion, [[1, 0, 0], [0, 1, 0], [0, 1, 1]]);
        assert!((sentiment.macro_f1 - (1.0 + 2.0 / 3.0 + 2.0 / 3.0) / 3.0).abs() < 1e-9);
        assert!((sentiment.polarity_accuracy - 2.0 / 3.0).abs() < 1e-9);
        assert!(sentiment.confidence.calibration_error.abs() < 1e-9, "three of four are right, at 0.75 each");
        let topics = report.all.topics.unwrap();
        assert_eq!((topics.top1, topics.coverage_at_85), (0.75, 0.75));
        assert_eq!(topics.confidence.coverage_curve[4], (1.0, 0.75));
        let expected = (0.1 + 0.2 + 0.3 + 0.3) / 4.0;
        assert!((topics.confidence.calibration_error - expected).abs() < 1e-6);
        assert_eq!(report.all.language.unwrap().accuracy, 0.75);
        assert_eq!(report.by_language["de"].language.as_ref().unwrap().accuracy, 1.0);
    }

    #[test]
    fn empty_input_has_no_figures() {
        let report = report(&[]);
        assert!(report.all.sentiment.is_none() && report.all.topics.is_none() && report.by_language.is_empty());
    }
}
