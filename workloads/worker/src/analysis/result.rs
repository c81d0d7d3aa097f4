//! The result document of an analysis, joined from the profile and the outputs of the children.

use chrono::{DateTime, Utc};
use serde::Serialize;
use switchyard_jobs::{handler::ChildResult, model::JobError};

use super::{
    aggregate::{Aggregate, PostSummary, aggregate},
    child_outputs::ChildOutputs,
    state::AnalysisState,
};
use crate::{
    children::{ImageRecord, Label, Model},
    profile::ScrapedProfile,
    profile_fetcher::FetchedProfile,
};

/// The result of a profile analysis.
#[derive(Debug, Serialize)]
pub struct AnalysisResult {
    profile: ProfileResult,
    posts: Vec<PostResult>,
    aggregate: Aggregate,
    model: Model,
}

#[derive(Debug, Serialize)]
struct ProfileResult {
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
    /// Related profiles whose analysis was queued.
    discovered: Vec<String>,
    /// Only if the source was unavailable and a cached profile was used.
    #[serde(flatten)]
    cached: Option<Cached>,
}

#[derive(Debug, Serialize)]
struct Cached {
    /// Always true.
    cached: bool,
    /// Age of the profile and its posts when they were analysed.
    age_seconds: u64,
}

#[derive(Debug, Serialize)]
struct PostResult {
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

/// Joins a profile with the outputs of its children.
///
/// # Errors
/// `analysis-incomplete` if a post was not classified; otherwise as [`ChildOutputs::collect`].
pub fn join(state: AnalysisState, children: &[ChildResult]) -> Result<AnalysisResult, JobError> {
    let mut outputs = ChildOutputs::collect(&state, children)?;
    let FetchedProfile { scraped: ScrapedProfile { profile, posts }, age_seconds } = state.fetched;
    let posts = posts
        .into_iter()
        .map(|post| {
            let labels = outputs.posts.remove(&post.id).ok_or_else(|| {
                JobError::permanent("analysis-incomplete", format!("post {} was not classified", post.id))
            })?;
            Ok(PostResult {
                images: post.images.into_iter().map(|url| outputs.image(url)).collect(),
                id: post.id,
                url: post.url,
                at: post.at,
                text: post.text,
                likes: post.likes,
                comments: post.comments,
                language: labels.language,
                sentiment: labels.sentiment,
                category: labels.category,
                topics: labels.topics,
            })
        })
        .collect::<Result<Vec<_>, JobError>>()?;
    let summaries: Vec<PostSummary<'_>> = posts.iter().map(PostResult::summary).collect();
    let aggregate = aggregate(profile.followers, &summaries);
    let profile = ProfileResult {
        picture: profile.picture.map(|url| outputs.image(url)),
        discovered: outputs.discovered,
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
    Ok(AnalysisResult { profile, posts, aggregate, model: outputs.model.unwrap_or_else(no_model) })
}

/// Named in the result of a profile without posts.
fn no_model() -> Model {
    Model { name: "none".to_owned(), version: String::new(), fallback: false }
}

impl PostResult {
    fn summary(&self) -> PostSummary<'_> {
        PostSummary {
            language: &self.language,
            sentiment: &self.sentiment.label,
            category: &self.category.label,
            likes: self.likes,
            comments: self.comments,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use switchyard_contract::Kind;

    use super::*;
    use crate::{
        analysis::correction::correction_state,
        profile::{Post, Profile},
    };

    fn scraped() -> ScrapedProfile {
        let post = |id: &str, text: &str, likes, images: &[&str]| Post {
            id: id.to_owned(),
            url: Some(format!("https://www.instagram.com/p/{id}/")),
            text: text.to_owned(),
            likes,
            comments: Some(10),
            at: "2025-05-01T10:00:00Z".parse().ok(),
            images: images.iter().map(|&url| url.to_owned()).collect(),
        };
        ScrapedProfile {
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

    fn fresh() -> AnalysisState {
        FetchedProfile { scraped: scraped(), age_seconds: None }.into()
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
    fn result_document() {
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
    fn cached_profile_is_marked_with_its_age() {
        let joined =
            join(FetchedProfile { scraped: scraped(), age_seconds: Some(90) }.into(), &[ai(&["1", "2"], false)])
                .expect("joins");
        let document = serde_json::to_value(joined).expect("JSON");
        assert_eq!((&document["profile"]["cached"], &document["profile"]["age_seconds"]), (&json!(true), &json!(90)));
    }

    #[test]
    fn unclassified_post_fails_the_analysis() {
        let error = join(fresh(), &[ai(&["1"], false)]).expect_err("post 2 is missing");
        assert_eq!((error.code.as_str(), error.permanent), ("analysis-incomplete", true));
    }

    #[test]
    fn one_fallback_chunk_marks_the_result() {
        let joined = join(fresh(), &[ai(&["1"], false), ai(&["2"], true)]).expect("joins");
        assert!(joined.model.fallback);
    }

    #[test]
    fn correction_reclassifies_texts_and_gives_the_full_result() {
        let rest = [cdn(), dead(Kind::Cdn, json!({"urls": ["https://cdn/3.jpg"]})), discovery()];
        let first = [&[ai(&["1"], false), ai(&["2"], true)], &rest[..]].concat();
        let state = correction_state(&fresh(), &first).expect("outputs").expect("a correction");
        // Through JSON, as the database stores it.
        let state: AnalysisState =
            serde_json::from_value(serde_json::to_value(state).expect("JSON")).expect("the same");
        let corrected = join(state, &[ai(&["1", "2"], false)]).expect("joins");
        let expected = join(fresh(), &[&[ai(&["1", "2"], false)], &rest[..]].concat()).expect("joins");
        assert_eq!(serde_json::to_value(corrected).expect("JSON"), serde_json::to_value(expected).expect("JSON"));
        assert!(correction_state(&fresh(), &[ai(&["1", "2"], false)]).expect("outputs").is_none());
    }

    #[test]
    fn dead_image_and_discovery_jobs_do_not_fail_the_result() {
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
    #[expect(clippy::float_cmp, reason = "exact results")]
    fn profile_without_posts_names_no_model() {
        let fetched = FetchedProfile { scraped: ScrapedProfile { posts: Vec::new(), ..scraped() }, age_seconds: None };
        let joined = join(fetched.into(), &[cdn()]).expect("joins");
        assert_eq!((joined.model.name.as_str(), joined.model.fallback), ("none", false));
        assert_eq!(joined.aggregate.engagement_rate, 0.0);
    }

    #[test]
    fn malformed_child_output_is_named() {
        let odd = ChildResult { kind: Kind::Cdn, input: Value::Null, result: Ok(json!({"pictures": []})) };
        let error = join(fresh(), &[ai(&["1", "2"], false), odd]).expect_err("not a cdn answer");
        assert!(error.message.contains("cdn job"), "{error}");
    }
}
