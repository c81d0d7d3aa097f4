//! The heads: linear classifiers on top of the encoder's embeddings.
//!
//! `models/train.py` calibrates the weights by temperature scaling (Guo et al., 2017,
//! arXiv:1706.04599), so this module applies them as they are.

use std::path::Path;

use serde::Deserialize;

use super::{
    error::ModelError,
    folder::{DIMENSIONS, Folder},
};

/// One head per question.
#[derive(Debug, Clone)]
pub struct Heads {
    /// Single-label: negative, neutral or positive.
    pub sentiment: Head,
    /// Multi-label: any number of topics.
    pub topics: Head,
}

/// A linear layer: a row of [`DIMENSIONS`] weights and a bias per label.
#[derive(Debug, Clone, Deserialize)]
pub struct Head {
    pub labels: Vec<String>,
    weights: Vec<Vec<f32>>,
    bias: Vec<f32>,
    /// Labels with a confidence below this, 0 to 1, are marked as unsure.
    unsure_below: f32,
}

/// A label with the model's confidence.
#[derive(Debug, Clone, PartialEq, serde::Serialize, Deserialize)]
pub struct Scored {
    pub label: String,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Whether the confidence is too low to rely on: the label is only a best guess. Omitted from
    /// JSON if false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
}

#[derive(Deserialize)]
struct File {
    encoder_sha256: String,
    sentiment: Head,
    topics: Head,
}

impl Heads {
    /// Reads `heads.json`.
    ///
    /// # Errors
    /// The file is invalid, or the heads were trained on another encoder. Their answers would be
    /// plausible noise.
    pub fn load(folder: &Folder) -> Result<Self, ModelError> {
        let path = Path::new("heads.json");
        let invalid = |reason: String| ModelError::Invalid { path: path.to_owned(), reason };
        let file: File =
            serde_json::from_slice(&folder.read("heads.json")?).map_err(|error| invalid(error.to_string()))?;
        if file.encoder_sha256 != folder.sha256("encoder.onnx")? {
            return Err(invalid(format!("it was trained on encoder {}: run `make train`", file.encoder_sha256)));
        }
        for (name, head, least) in [("sentiment", &file.sentiment, 3), ("topics", &file.topics, 2)] {
            if !head.is_valid(least) {
                return Err(invalid(format!(
                    "'{name}' needs {DIMENSIONS} finite weights and a bias for each label, and a confidence of 0 to 1"
                )));
            }
        }
        if file.sentiment.labels != ["negative", "neutral", "positive"] {
            return Err(invalid(format!("'sentiment' has the labels {:?}", file.sentiment.labels)));
        }
        Ok(Self { sentiment: file.sentiment, topics: file.topics })
    }
}

impl Head {
    fn is_valid(&self, least: usize) -> bool {
        let labels = self.labels.len();
        labels >= least
            && self.weights.len() == labels
            && self.bias.len() == labels
            && self.weights.iter().all(|row| row.len() == DIMENSIONS && row.iter().all(|weight| weight.is_finite()))
            && self.bias.iter().all(|bias| bias.is_finite())
            && (0.0..=1.0).contains(&self.unsure_below)
    }

    /// Softmax: the confidence of each label if exactly one is right. They sum to 1.
    pub fn softmax(&self, embedding: &[f32]) -> Vec<f32> {
        let logits = self.logits(embedding);
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
        let sum: f32 = exponentials.iter().sum();
        exponentials.iter().map(|value| value / sum).collect()
    }

    /// Sigmoid: the confidence of each label if any number of labels may be right.
    pub fn sigmoid(&self, embedding: &[f32]) -> Vec<f32> {
        self.logits(embedding).iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect()
    }

    /// The label with the highest score; the first of equal ones.
    pub fn best(&self, scores: &[f32]) -> Scored {
        let best = (0..self.labels.len())
            .reduce(|best, next| if scores[next] > scores[best] { next } else { best })
            .unwrap_or(0);
        self.scored(best, scores[best])
    }

    /// The labels with a score of at least `threshold`, best first. The best label is always
    /// included.
    pub fn above(&self, scores: &[f32], threshold: f32) -> Vec<Scored> {
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let kept = order.iter().skip(1).take_while(|label| scores[**label] >= threshold);
        order.first().into_iter().chain(kept).map(|label| self.scored(*label, scores[*label])).collect()
    }

    fn scored(&self, label: usize, score: f32) -> Scored {
        Scored { label: self.labels[label].clone(), score, unsure: score < self.unsure_below }
    }

    fn logits(&self, embedding: &[f32]) -> Vec<f32> {
        let product = |row: &Vec<f32>| row.iter().zip(embedding).map(|(weight, value)| weight * value).sum::<f32>();
        self.weights.iter().zip(&self.bias).map(|(row, bias)| product(row) + bias).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let row = |at: usize| (0..DIMENSIONS).map(|i| if i == at { 2.0 } else { 0.0 }).collect();
        Head {
            labels: ["a", "b", "c"].map(String::from).into(),
            weights: vec![row(0), row(1), row(2)],
            bias: vec![0.0, 0.0, -1.0],
            unsure_below: 0.4,
        }
    }

    fn one_hot(at: usize) -> Vec<f32> {
        (0..DIMENSIONS).map(|i| if i == at { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn softmax_scores_sum_to_one_and_the_highest_wins() {
        let scores = head().softmax(&one_hot(1));
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(head().best(&scores).label, "b");
    }

    #[test]
    fn sigmoid_scores_are_independent_probabilities() {
        let scores = head().sigmoid(&one_hot(2));
        assert!((scores[0] - 0.5).abs() < 1e-6 && (scores[2] - 1.0 / (1.0 + (-1f32).exp())).abs() < 1e-6);
    }

    #[test]
    fn unsure_labels_are_marked_and_several_labels_may_apply() {
        let scores = [0.3, 0.9, 0.6];
        let labels =
            |threshold| head().above(&scores, threshold).into_iter().map(|scored| scored.label).collect::<Vec<_>>();
        assert_eq!((labels(0.5), labels(0.95)), (vec!["b".to_owned(), "c".to_owned()], vec!["b".to_owned()]));
        assert!(!head().best(&scores).unsure && head().best(&[0.3, 0.39, 0.1]).unsure);
        assert_eq!(serde_json::to_string(&head().best(&scores)).unwrap(), r#"{"label":"b","score":0.9}"#);
    }

    #[test]
    fn head_of_the_wrong_shape_is_invalid() {
        let mut short = head();
        short.bias.pop();
        let mut narrow = head();
        narrow.weights[0].pop();
        let mut infinite = head();
        infinite.weights[0][0] = f32::INFINITY;
        assert!(!Head { unsure_below: 1.5, ..head() }.is_valid(3));
        assert!(
            head().is_valid(3)
                && !short.is_valid(3)
                && !narrow.is_valid(3)
                && !infinite.is_valid(3)
                && !head().is_valid(4)
        );
    }
}
