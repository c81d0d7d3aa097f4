//! The fan-out of an analysis: which children a profile needs. Pure.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;
use switchyard_contract::{Analysis, Kind};
use switchyard_jobs::handler::Child;

use crate::{
    children::{ClassificationInput, DiscoveryInput, ImagesInput, PostText},
    profile::{Post, ScrapedProfile},
};

/// Most images of one cdn job.
const IMAGES_PER_JOB: usize = 10;

/// The children of an analysis. The ai jobs, each for a chunk of texts, are required for the
/// result. The cdn and discovery jobs are optional.
pub fn children(scraped: &ScrapedProfile, settings: &Analysis, discover: bool) -> Vec<Child> {
    let mut children = texts(scraped, settings, true);
    for urls in images(scraped).chunks(IMAGES_PER_JOB) {
        children.push(child(Kind::Cdn, &ImagesInput { urls: urls.to_vec() }, false));
    }
    let related = &scraped.profile.related;
    if discover && settings.related_profiles > 0 && !related.is_empty() {
        children.push(child(Kind::Discovery, &DiscoveryInput { related: related.clone() }, false));
    }
    children
}

/// The children of a correction: the same chunks of texts, which only the model may answer.
pub fn correction_children(scraped: &ScrapedProfile, settings: &Analysis) -> Vec<Child> {
    texts(scraped, settings, false)
}

fn texts(scraped: &ScrapedProfile, settings: &Analysis, rules: bool) -> Vec<Child> {
    let chunks = scraped.posts.chunks(settings.posts_per_chunk.max(1) as usize);
    let chunk = |posts: &[Post]| {
        let posts = posts.iter().map(|post| PostText { id: post.id.clone(), text: post.text.clone() }).collect();
        child(Kind::Ai, &ClassificationInput { posts, rules }, true)
    };
    chunks.map(chunk).collect()
}

/// URLs of all images without duplicates, the profile's picture first.
fn images(scraped: &ScrapedProfile) -> Vec<String> {
    let mut seen = HashSet::new();
    let posts = scraped.posts.iter().flat_map(|post| &post.images);
    scraped.profile.picture.iter().chain(posts).filter(|url| seen.insert(url.as_str())).cloned().collect()
}

fn child(kind: Kind, input: &impl Serialize, required: bool) -> Child {
    let input = serde_json::to_value(input).unwrap_or(Value::Null);
    Child { kind, input, required }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn scraped(posts: usize) -> ScrapedProfile {
        let profile = Profile {
            username: "anna".to_owned(),
            picture: Some("https://cdn/me.jpg".to_owned()),
            related: vec!["berta".to_owned()],
            ..Profile::default()
        };
        let post = |n: usize| Post {
            id: n.to_string(),
            images: vec![format!("https://cdn/{n}.jpg"), "https://cdn/shared.jpg".to_owned()],
            ..Post::default()
        };
        ScrapedProfile { profile, posts: (0..posts).map(post).collect() }
    }

    fn of(children: &[Child], kind: Kind) -> Vec<&Child> {
        children.iter().filter(|child| child.kind == kind).collect()
    }

    #[test]
    fn posts_are_chunked_and_only_chunks_are_required() {
        let children = children(&scraped(12), &Analysis::default(), true);
        let chunks: Vec<usize> = of(&children, Kind::Ai)
            .iter()
            .map(|child| serde_json::from_value::<ClassificationInput>(child.input.clone()).expect("texts").posts.len())
            .collect();
        assert_eq!(chunks, [5, 5, 2]);
        assert!(children.iter().all(|child| child.required == (child.kind == Kind::Ai)));
    }

    #[test]
    fn correction_has_the_same_texts_without_rules() {
        let (first, again) = (
            children(&scraped(12), &Analysis::default(), true),
            correction_children(&scraped(12), &Analysis::default()),
        );
        assert!(of(&first, Kind::Ai).iter().all(|child| child.input.get("rules").is_none()));
        assert_eq!(again.len(), 3);
        assert!(again.iter().all(|child| child.kind == Kind::Ai && child.required && child.input["rules"] == false));
        assert_eq!(again[2].input["posts"], of(&first, Kind::Ai)[2].input["posts"]);
    }

    #[test]
    fn each_image_is_requested_once() {
        let children = children(&scraped(12), &Analysis::default(), true);
        let urls: Vec<String> = of(&children, Kind::Cdn)
            .iter()
            .flat_map(|child| serde_json::from_value::<ImagesInput>(child.input.clone()).expect("images").urls)
            .collect();
        assert_eq!(urls.len(), 14);
        assert_eq!(urls.iter().collect::<HashSet<_>>().len(), 14);
        assert_eq!(urls[0], "https://cdn/me.jpg");
    }

    #[test]
    fn discovery_is_optional() {
        let none = Analysis { related_profiles: 0, ..Analysis::default() };
        assert_eq!(of(&children(&scraped(1), &Analysis::default(), true), Kind::Discovery).len(), 1);
        assert_eq!(of(&children(&scraped(1), &Analysis::default(), false), Kind::Discovery).len(), 0);
        assert_eq!(of(&children(&scraped(1), &none, true), Kind::Discovery).len(), 0);
    }

    #[test]
    fn empty_profile_has_no_children() {
        assert!(children(&ScrapedProfile::default(), &Analysis::default(), true).is_empty());
    }
}
