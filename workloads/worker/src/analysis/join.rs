//! Puts a profile and what the children found together. Pure.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use switchyard_contract::Kind;
use switchyard_jobs::{handler::ChildResult, model::JobError};

use super::aggregate::{Aggregate, Facts, aggregate};
use crate::{
    children::{
        ImageRecord, ImagesHandled, ImagesWanted, Label, Model, ProfilesChosen, TextClassified, TextsClassified,
    },
    profile::Scraped,
    profiles::Found,
};

/// The result of a profile analysis.
#[derive(Debug, Serialize)]
pub struct Analysed {
    profile: ProfileAnalysed,
    posts: Vec<PostAnalysed>,
    aggregate: Aggregate,
    model: Model,
}

#[derive(Debug, Serialize)]
struct ProfileAnalysed {
    username: String,
    full_name: Option<String>,
    biography: Option<String>,
    url: Option<String>,
    followers: u64,
    following: u64,
    posts: u64,
    private: bool,
    verified: bool,
    picture: Option<ImageRecord>,
    /// Related profiles that were handed on to be analysed as well.
    discovered: Vec<String>,
    /// Only where the source was away and what it gave before stood in.
    #[serde(flatten)]
    cached: Option<Cached>,
}

#[derive(Debug, Serialize)]
struct Cached {
    /// Always true.
    cached: bool,
    /// How old the profile and its posts were when they were analysed.
    age_seconds: u64,
}

#[derive(Debug, Serialize)]
struct PostAnalysed {
    id: String,
    url: Option<String>,
    at: Option<DateTime<Utc>>,
    text: String,
    likes: Option<u64>,
    comments: Option<u64>,
    language: String,
    sentiment: Label,
    category: Label,
    topics: Vec<Label>,
    images: Vec<ImageRecord>,
}

/// What an analysis keeps while its children run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    #[serde(flatten)]
    pub found: Found,
    /// Found by an earlier round, of a correction: it does not do that work again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    images: Vec<ImageRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    discovered: Vec<String>,
}

impl From<Found> for Kept {
    fn from(found: Found) -> Self {
        Self { found, images: Vec::new(), discovered: Vec::new() }
    }
}

/// What a correction of an analysis that rules had a part in begins with; none where the model answered everything.
pub fn to_correct(kept: &Kept, children: &[ChildResult]) -> Result<Option<Kept>, JobError> {
    let by_rules = |child: &ChildResult| {
        child.kind == Kind::Ai && child.result.as_ref().is_ok_and(|output| output["model"]["fallback"] == true)
    };
    // Looked at before anything is read: hardly ever is there something to correct, and what the children found is large.
    if !children.iter().any(by_rules) {
        return Ok(None);
    }
    let outputs = Outputs::collect(kept, children)?;
    let mut images: Vec<ImageRecord> = outputs.images.into_values().collect();
    images.sort_by(|a, b| a.url().cmp(b.url()));
    Ok(Some(Kept { found: kept.found.clone(), images, discovered: outputs.discovered }))
}

/// Joins a profile with what its children came to. Fails when a post was not classified.
pub fn join(kept: Kept, children: &[ChildResult]) -> Result<Analysed, JobError> {
    let mut found = Outputs::collect(&kept, children)?;
    let Found { scraped: Scraped { profile, posts }, age_seconds } = kept.found;
    let posts = posts
        .into_iter()
        .map(|post| {
            let classes = found.classes.remove(&post.id).ok_or_else(|| {
                JobError::permanent("analysis-incomplete", format!("post {} came back without classes", post.id))
            })?;
            Ok(PostAnalysed {
                images: post.images.into_iter().map(|url| found.image(url)).collect(),
                id: post.id,
                url: post.url,
                at: post.at,
                text: post.text,
                likes: post.likes,
                comments: post.comments,
                language: classes.language,
                sentiment: classes.sentiment,
                category: classes.category,
                topics: classes.topics,
            })
        })
        .collect::<Result<Vec<_>, JobError>>()?;
    let facts: Vec<Facts> = posts.iter().map(PostAnalysed::facts).collect();
    let aggregate = aggregate(profile.followers, &facts);
    let profile = ProfileAnalysed {
        picture: profile.picture.map(|url| found.image(url)),
        discovered: found.discovered,
        cached: age_seconds.map(|age_seconds| Cached { cached: true, age_seconds }),
        username: profile.username,
        full_name: profile.full_name,
        biography: profile.biography,
        url: profile.url,
        followers: profile.followers,
        following: profile.following,
        posts: profile.posts,
        private: profile.private,
        verified: profile.verified,
    };
    Ok(Analysed { profile, posts, aggregate, model: found.model.unwrap_or_else(no_model) })
}

/// What is named where there was no post to classify.
fn no_model() -> Model {
    Model { name: "none".to_owned(), version: String::new(), fallback: false }
}

impl PostAnalysed {
    fn facts(&self) -> Facts<'_> {
        Facts {
            language: &self.language,
            sentiment: &self.sentiment.label,
            category: &self.category.label,
            likes: self.likes,
            comments: self.comments,
        }
    }
}

/// What the children found, by what it is about.
#[derive(Default)]
struct Outputs {
    classes: HashMap<String, TextClassified>,
    images: HashMap<String, ImageRecord>,
    discovered: Vec<String>,
    model: Option<Model>,
}

impl Outputs {
    fn collect(kept: &Kept, children: &[ChildResult]) -> Result<Self, JobError> {
        let mut found = Self { discovered: kept.discovered.clone(), ..Self::default() };
        found.handled(ImagesHandled { images: kept.images.clone() });
        for child in children {
            match (child.kind, &child.result) {
                (Kind::Ai, Ok(output)) => found.classified(read(output, "an ai job")?),
                (Kind::Ai, Err(error)) => return Err(error.clone()),
                (Kind::Cdn, Ok(output)) => found.handled(read(output, "a cdn job")?),
                (Kind::Cdn, Err(error)) => found.not_handled(read(&child.input, "a cdn job")?, error),
                (Kind::Discovery, Ok(output)) => {
                    found.discovered = read::<ProfilesChosen>(output, "a discovery job")?.usernames;
                }
                // The analysis is whole without its neighbours; the job's own error is on record.
                (Kind::Discovery, Err(_)) => {}
                (Kind::General, _) => {
                    return Err(JobError::permanent(
                        "analysis-incomplete",
                        "an analysis was spawned under another one",
                    ));
                }
            }
        }
        Ok(found)
    }

    fn classified(&mut self, output: TextsClassified) {
        self.classes.extend(output.posts.into_iter().map(|post| (post.id.clone(), post)));
        match &mut self.model {
            // One chunk that rules answered marks the whole.
            Some(model) => model.fallback |= output.model.fallback,
            none => *none = Some(output.model),
        }
    }

    fn handled(&mut self, output: ImagesHandled) {
        self.images.extend(output.images.into_iter().map(|image| (image.url().to_owned(), image)));
    }

    fn not_handled(&mut self, input: ImagesWanted, error: &JobError) {
        for url in input.urls {
            self.images.insert(url.clone(), ImageRecord::Failed { url, error: error.code.clone() });
        }
    }

    fn image(&self, url: String) -> ImageRecord {
        let known = self.images.get(&url).cloned();
        known.unwrap_or_else(|| ImageRecord::Failed { url, error: "not-handled".to_owned() })
    }
}

fn read<T: DeserializeOwned>(value: &Value, whose: &str) -> Result<T, JobError> {
    T::deserialize(value).map_err(|error| {
        JobError::permanent("analysis-incomplete", format!("{whose} answered something else: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::{Post, Profile};

    fn scraped() -> Scraped {
        let post = |id: &str, text: &str, likes, images: &[&str]| Post {
            id: id.to_owned(),
            url: Some(format!("https://www.instagram.com/p/{id}/")),
            text: text.to_owned(),
            likes,
            comments: Some(10),
            at: "2025-05-01T10:00:00Z".parse().ok(),
            images: images.iter().map(|&url| url.to_owned()).collect(),
        };
        Scraped {
            profile: Profile {
                username: "anna".to_owned(),
                full_name: Some("Anna Berg".to_owned()),
                followers: 1000,
                following: 12,
                posts: 48,
                picture: Some("https://cdn/me.jpg".to_owned()),
                related: vec!["berta".to_owned(), "carla".to_owned()],
                ..Profile::default()
            },
            posts: vec![
                post("1", "Wir haben gewonnen!", Some(90), &["https://cdn/1.jpg", "https://cdn/2.jpg"]),
                post("2", "", None, &["https://cdn/3.jpg"]),
            ],
        }
    }

    fn fresh() -> Kept {
        Found { scraped: scraped(), age_seconds: None }.into()
    }

    fn ai(ids: &[&str], fallback: bool) -> ChildResult {
        let post = |id: &&str| {
            json!({
                "id": id, "language": "de",
                "sentiment": {"label": "positive", "score": 0.91}, "category": {"label": "sports", "score": 0.77, "unsure": true},
                "topics": [{"label": "sports", "score": 0.77, "unsure": true}],
            })
        };
        let output = json!({
            "model": {"name": "e5", "version": "1", "fallback": fallback},
            "posts": ids.iter().map(post).collect::<Vec<_>>(),
        });
        ChildResult { kind: Kind::Ai, input: Value::Null, result: Ok(output) }
    }

    fn cdn() -> ChildResult {
        let output = json!({"images": [
            {"url": "https://cdn/me.jpg", "sha256": "00", "format": "jpeg", "width": 320, "height": 320, "bytes": 900,
             "stored": {"original": "images/00/original.jpg", "thumbnails": {"64": "images/00/64.jpg", "320": "images/00/320.jpg"}}},
            {"url": "https://cdn/1.jpg", "sha256": "01", "format": "png", "width": 10, "height": 20, "bytes": 90},
            {"url": "https://cdn/2.jpg", "error": "not-found"},
        ]});
        ChildResult { kind: Kind::Cdn, input: Value::Null, result: Ok(output) }
    }

    fn dead(kind: Kind, input: Value) -> ChildResult {
        ChildResult { kind, input, result: Err(JobError::transient("image-unavailable", "no answer")) }
    }

    fn discovery() -> ChildResult {
        ChildResult { kind: Kind::Discovery, input: Value::Null, result: Ok(json!({"usernames": ["berta"]})) }
    }

    #[test]
    fn the_result_document() {
        let children = [
            ai(&["1"], false),
            ai(&["2"], false),
            cdn(),
            dead(Kind::Cdn, json!({"urls": ["https://cdn/3.jpg"]})),
            discovery(),
        ];
        insta::assert_json_snapshot!(join(fresh(), &children).expect("joins"));
    }

    #[test]
    fn a_profile_that_stood_in_says_so_and_how_old_it_is() {
        let joined =
            join(Found { scraped: scraped(), age_seconds: Some(90) }.into(), &[ai(&["1", "2"], false)]).expect("joins");
        let document = serde_json::to_value(joined).expect("JSON");
        assert_eq!((&document["profile"]["cached"], &document["profile"]["age_seconds"]), (&json!(true), &json!(90)));
    }

    #[test]
    fn an_unclassified_post_is_a_failure_and_not_a_guess() {
        let error = join(fresh(), &[ai(&["1"], false)]).expect_err("post 2 is missing");
        assert_eq!((error.code.as_str(), error.permanent), ("analysis-incomplete", true));
    }

    #[test]
    fn one_chunk_by_rules_marks_the_whole() {
        let joined = join(fresh(), &[ai(&["1"], false), ai(&["2"], true)]).expect("joins");
        assert!(joined.model.fallback);
    }

    #[test]
    fn a_correction_needs_the_texts_alone_and_comes_to_the_whole_result() {
        let rest = [cdn(), dead(Kind::Cdn, json!({"urls": ["https://cdn/3.jpg"]})), discovery()];
        let first = [&[ai(&["1"], false), ai(&["2"], true)], &rest[..]].concat();
        let kept = to_correct(&fresh(), &first).expect("outputs").expect("rules had a part in it");
        // As it goes through the database.
        let kept: Kept = serde_json::from_value(serde_json::to_value(kept).expect("JSON")).expect("the same");
        let corrected = join(kept, &[ai(&["1", "2"], false)]).expect("joins");
        let at_once = join(fresh(), &[&[ai(&["1", "2"], false)], &rest[..]].concat()).expect("joins");
        assert_eq!(serde_json::to_value(corrected).expect("JSON"), serde_json::to_value(at_once).expect("JSON"));
        assert!(to_correct(&fresh(), &[ai(&["1", "2"], false)]).expect("outputs").is_none());
    }

    #[test]
    fn neither_images_nor_discovery_hold_the_result_up() {
        let urls: Vec<&str> = vec!["https://cdn/me.jpg", "https://cdn/1.jpg", "https://cdn/2.jpg", "https://cdn/3.jpg"];
        let children =
            [ai(&["1", "2"], false), dead(Kind::Cdn, json!({ "urls": urls })), dead(Kind::Discovery, Value::Null)];
        let joined = join(fresh(), &children).expect("joins");
        let images = joined.posts.iter().flat_map(|post| &post.images);
        assert!(
            images.clone().count() == 3
                && images
                    .clone()
                    .all(|image| matches!(image, ImageRecord::Failed { error, .. } if error == "image-unavailable"))
        );
        assert!(joined.profile.discovered.is_empty());
    }

    #[test]
    fn a_profile_without_posts_names_no_model() {
        let found = Found { scraped: Scraped { posts: Vec::new(), ..scraped() }, age_seconds: None };
        let joined = join(found.into(), &[cdn()]).expect("joins");
        assert_eq!((joined.model.name.as_str(), joined.model.fallback), ("none", false));
        assert_eq!(joined.aggregate.engagement_rate, 0.0);
    }

    #[test]
    fn an_answer_of_another_shape_is_named() {
        let odd = ChildResult { kind: Kind::Cdn, input: Value::Null, result: Ok(json!({"pictures": []})) };
        let error = join(fresh(), &[ai(&["1", "2"], false), odd]).expect_err("not a cdn answer");
        assert!(error.message.contains("cdn job"), "{error}");
    }
}
