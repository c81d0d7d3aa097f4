use std::path::Path;

use serde::Deserialize;

use super::{Folder, ModelError, WIDTH};

/// What was learnt on top of the encoder: one linear layer for each question.
#[derive(Debug, Clone)]
pub struct Heads {
    /// One of negative, neutral, positive.
    pub sentiment: Head,
    /// Any of the topics.
    pub topics: Head,
}

/// A linear layer: a row of weights and a bias for each label.
#[derive(Debug, Clone, Deserialize)]
pub struct Head {
    pub labels: Vec<String>,
    weights: Vec<Vec<f32>>,
    bias: Vec<f32>,
    /// The confidence below which the head does not know, 0 to 1.
    unsure_below: f32,
}

/// A label with the model's confidence in it, 0 to 1.
#[derive(Debug, Clone, PartialEq, serde::Serialize, Deserialize)]
pub struct Scored {
    pub label: String,
    pub score: f32,
    /// Whether the model does not know: the label is only its best guess. Left out where it does.
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
    /// Reads `heads.json`, and refuses heads that were learnt on another encoder: their answers would be noise that looks like answers.
    pub fn load(folder: &Folder) -> Result<Self, ModelError> {
        let path = Path::new("heads.json");
        let invalid = |reason: String| ModelError::Invalid { path: path.to_owned(), reason };
        let file: File =
            serde_json::from_slice(&folder.read("heads.json")?).map_err(|error| invalid(error.to_string()))?;
        if file.encoder_sha256 != folder.sha256("encoder.onnx")? {
            return Err(invalid(format!("it was learnt on encoder {}: run `make train`", file.encoder_sha256)));
        }
        for (name, head, least) in [("sentiment", &file.sentiment, 3), ("topics", &file.topics, 2)] {
            if !head.fits(least) {
                return Err(invalid(format!(
                    "'{name}' is not a row of {WIDTH} finite weights and a bias for each of its labels, and a confidence of 0 to 1"
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
    fn fits(&self, least: usize) -> bool {
        let labels = self.labels.len();
        labels >= least
            && self.weights.len() == labels
            && self.bias.len() == labels
            && self.weights.iter().all(|row| row.len() == WIDTH && row.iter().all(|weight| weight.is_finite()))
            && self.bias.iter().all(|bias| bias.is_finite())
            && (0.0..=1.0).contains(&self.unsure_below)
    }

    /// Confidence in each label where one label is right: they add up to 1.
    pub fn one_of(&self, embedding: &[f32]) -> Vec<f32> {
        let logits = self.logits(embedding);
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let parts: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
        let sum: f32 = parts.iter().sum();
        parts.iter().map(|part| part / sum).collect()
    }

    /// Confidence in each label where any number of labels may be right.
    pub fn any_of(&self, embedding: &[f32]) -> Vec<f32> {
        self.logits(embedding).iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect()
    }

    /// The label of the highest score; the first of equal ones.
    pub fn best(&self, scores: &[f32]) -> Scored {
        let best = (0..self.labels.len())
            .reduce(|best, next| if scores[next] > scores[best] { next } else { best })
            .unwrap_or(0);
        self.scored(best, scores[best])
    }

    /// The labels of at least `least`, best first; the best one in any case.
    pub fn all_from(&self, scores: &[f32], least: f32) -> Vec<Scored> {
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let kept = order.iter().skip(1).take_while(|label| scores[**label] >= least);
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
        let row = |at: usize| (0..WIDTH).map(|i| if i == at { 2.0 } else { 0.0 }).collect();
        Head {
            labels: ["a", "b", "c"].map(String::from).into(),
            weights: vec![row(0), row(1), row(2)],
            bias: vec![0.0, 0.0, -1.0],
            unsure_below: 0.4,
        }
    }

    fn one_hot(at: usize) -> Vec<f32> {
        (0..WIDTH).map(|i| if i == at { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn exclusive_scores_add_up_to_one_and_the_highest_wins() {
        let scores = head().one_of(&one_hot(1));
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(head().best(&scores).label, "b");
    }

    #[test]
    fn independent_scores_are_each_a_probability() {
        let scores = head().any_of(&one_hot(2));
        assert!((scores[0] - 0.5).abs() < 1e-6 && (scores[2] - 1.0 / (1.0 + (-1f32).exp())).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_sure_says_so_and_several_labels_may_be_right() {
        let scores = [0.3, 0.9, 0.6];
        let labels = |least| head().all_from(&scores, least).into_iter().map(|scored| scored.label).collect::<Vec<_>>();
        assert_eq!((labels(0.5), labels(0.95)), (vec!["b".to_owned(), "c".to_owned()], vec!["b".to_owned()]));
        assert!(!head().best(&scores).unsure && head().best(&[0.3, 0.39, 0.1]).unsure);
        assert_eq!(serde_json::to_string(&head().best(&scores)).unwrap(), r#"{"label":"b","score":0.9}"#);
    }

    #[test]
    fn a_head_of_the_wrong_shape_does_not_fit() {
        let mut short = head();
        short.bias.pop();
        let mut narrow = head();
        narrow.weights[0].pop();
        let mut infinite = head();
        infinite.weights[0][0] = f32::INFINITY;
        assert!(!Head { unsure_below: 1.5, ..head() }.fits(3));
        assert!(head().fits(3) && !short.fits(3) && !narrow.fits(3) && !infinite.fits(3) && !head().fits(4));
    }
}
