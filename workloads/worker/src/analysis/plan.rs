//! Which child jobs a profile asks for. Pure.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;
use switchyard_contract::{Analysis, Kind};
use switchyard_jobs::handler::Child;

use crate::{
    children::{ImagesWanted, ProfilesRelated, TextToClassify, TextsToClassify},
    profile::{Post, Scraped},
};

/// Images in one cdn job.
const IMAGES_PER_JOB: usize = 10;

/// The children of an analysis: texts in chunks, which the result cannot do without; images and related profiles, which it can.
pub fn children(scraped: &Scraped, settings: &Analysis, discover: bool) -> Vec<Child> {
    let mut children = texts(scraped, settings, true);
    for urls in images(scraped).chunks(IMAGES_PER_JOB) {
        children.push(child(Kind::Cdn, &ImagesWanted { urls: urls.to_vec() }, false));
    }
    let related = &scraped.profile.related;
    if discover && settings.related_profiles > 0 && !related.is_empty() {
        children.push(child(Kind::Discovery, &ProfilesRelated { related: related.clone() }, false));
    }
    children
}

/// The children of a correction: the texts once more, and no rules in the model's place.
pub fn once_more(scraped: &Scraped, settings: &Analysis) -> Vec<Child> {
    texts(scraped, settings, false)
}

fn texts(scraped: &Scraped, settings: &Analysis, rules: bool) -> Vec<Child> {
    let chunks = scraped.posts.chunks(settings.posts_per_chunk.max(1) as usize);
    let chunk = |posts: &[Post]| {
        let posts = posts.iter().map(|post| TextToClassify { id: post.id.clone(), text: post.text.clone() }).collect();
        child(Kind::Ai, &TextsToClassify { posts, rules }, true)
    };
    chunks.map(chunk).collect()
}

/// Every image once, the profile's picture first.
fn images(scraped: &Scraped) -> Vec<String> {
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

    fn scraped(posts: usize) -> Scraped {
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
        Scraped { profile, posts: (0..posts).map(post).collect() }
    }

    fn of(children: &[Child], kind: Kind) -> Vec<&Child> {
        children.iter().filter(|child| child.kind == kind).collect()
    }

    #[test]
    fn posts_go_in_chunks_and_only_they_are_required() {
        let children = children(&scraped(12), &Analysis::default(), true);
        let chunks: Vec<usize> = of(&children, Kind::Ai)
            .iter()
            .map(|child| serde_json::from_value::<TextsToClassify>(child.input.clone()).expect("texts").posts.len())
            .collect();
        assert_eq!(chunks, [5, 5, 2]);
        assert!(children.iter().all(|child| child.required == (child.kind == Kind::Ai)));
    }

    #[test]
    fn a_correction_wants_the_same_texts_and_no_rules() {
        let (first, again) =
            (children(&scraped(12), &Analysis::default(), true), once_more(&scraped(12), &Analysis::default()));
        assert!(of(&first, Kind::Ai).iter().all(|child| child.input.get("rules").is_none()));
        assert_eq!(again.len(), 3);
        assert!(again.iter().all(|child| child.kind == Kind::Ai && child.required && child.input["rules"] == false));
        assert_eq!(again[2].input["posts"], of(&first, Kind::Ai)[2].input["posts"]);
    }

    #[test]
    fn every_image_is_wanted_once() {
        let children = children(&scraped(12), &Analysis::default(), true);
        let urls: Vec<String> = of(&children, Kind::Cdn)
            .iter()
            .flat_map(|child| serde_json::from_value::<ImagesWanted>(child.input.clone()).expect("images").urls)
            .collect();
        assert_eq!(urls.len(), 14);
        assert_eq!(urls.iter().collect::<HashSet<_>>().len(), 14);
        assert_eq!(urls[0], "https://cdn/me.jpg");
    }

    #[test]
    fn discovery_can_be_left_out() {
        let none = Analysis { related_profiles: 0, ..Analysis::default() };
        assert_eq!(of(&children(&scraped(1), &Analysis::default(), true), Kind::Discovery).len(), 1);
        assert_eq!(of(&children(&scraped(1), &Analysis::default(), false), Kind::Discovery).len(), 0);
        assert_eq!(of(&children(&scraped(1), &none, true), Kind::Discovery).len(), 0);
    }

    #[test]
    fn an_empty_profile_has_nothing_to_wait_for() {
        assert!(children(&Scraped::default(), &Analysis::default(), true).is_empty());
    }
}
