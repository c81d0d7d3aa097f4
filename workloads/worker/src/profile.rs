//! A profile and its posts as the analysis sees them, read from what the scraper gives.
//!
//! The scraper's output is somebody else's and changes without notice: fields may be missing, null, or of another type. Reading is tolerant
//! of all that, and bounds everything, since it ends up in the database.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// Posts of one profile that are analysed; the newest ones come first.
const POSTS: usize = 1000;
/// Images of one post.
const IMAGES_PER_POST: usize = 10;
/// Related profiles that are kept.
const RELATED: usize = 50;
/// Characters of a text.
const TEXT_CHARACTERS: usize = 10_000;
/// Bytes of an address.
const ADDRESS_BYTES: usize = 4096;

/// Who posts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub username: String,
    pub full_name: Option<String>,
    pub biography: Option<String>,
    pub url: Option<String>,
    pub followers: u64,
    pub following: u64,
    /// Posts that the profile has, of which the newest are analysed.
    pub posts: u64,
    pub private: bool,
    pub verified: bool,
    /// Address of the profile's picture.
    pub picture: Option<String>,
    /// Usernames of related profiles, best first.
    pub related: Vec<String>,
}

/// One post.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    pub id: String,
    pub url: Option<String>,
    /// What the author wrote; may be empty.
    pub text: String,
    /// None where the author hides it.
    pub likes: Option<u64>,
    pub comments: Option<u64>,
    pub at: Option<DateTime<Utc>>,
    /// Addresses of its images.
    pub images: Vec<String>,
}

/// A profile with its posts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scraped {
    pub profile: Profile,
    pub posts: Vec<Post>,
}

impl Scraped {
    /// Reads the scraper's item; `None` when it has no username, so that it cannot be a profile.
    pub fn read(item: &Value) -> Option<Self> {
        let username = text(item, "username").filter(|name| is_username(name))?;
        let mut seen = HashSet::new();
        let posts: Vec<Post> = entries(item, "latestPosts")
            .filter_map(post)
            .filter(|post| seen.insert(post.id.clone()))
            .take(POSTS)
            .collect();
        let mut related: Vec<String> = Vec::new();
        for name in entries(item, "relatedProfiles").filter_map(|profile| text(profile, "username")) {
            if is_username(&name) && name != username && !related.contains(&name) && related.len() < RELATED {
                related.push(name);
            }
        }
        let profile = Profile {
            full_name: text(item, "fullName"),
            biography: text(item, "biography"),
            url: text(item, "url"),
            followers: count(item, "followersCount").unwrap_or(0),
            following: count(item, "followsCount").unwrap_or(0),
            posts: count(item, "postsCount").unwrap_or(posts.len() as u64),
            private: flag(item, "private"),
            verified: flag(item, "verified"),
            picture: ["profilePicUrlHD", "profilePicUrl"].iter().find_map(|key| address(&item[*key])),
            related,
            username,
        };
        Some(Self { profile, posts })
    }
}

/// Whether `name` can be a username: letters, digits, dots, dashes and underscores, at most 64 of them.
pub fn is_username(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn post(item: &Value) -> Option<Post> {
    let id = text(item, "id").or_else(|| text(item, "shortCode"))?;
    let mut images: Vec<String> = Vec::new();
    let slides = entries(item, "childPosts").map(|child| &child["displayUrl"]);
    for url in std::iter::once(&item["displayUrl"]).chain(entries(item, "images")).chain(slides).filter_map(address) {
        if !images.contains(&url) && images.len() < IMAGES_PER_POST {
            images.push(url);
        }
    }
    Some(Post {
        id,
        url: text(item, "url"),
        text: text(item, "caption").unwrap_or_default(),
        likes: count(item, "likesCount"),
        comments: count(item, "commentsCount"),
        at: item["timestamp"].as_str().and_then(|at| at.parse().ok()),
        images,
    })
}

fn entries<'a>(item: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    item[key].as_array().into_iter().flatten()
}

/// A text, or a number where a text should be. PostgreSQL stores no NUL in JSON, so there is none.
fn text(item: &Value, key: &str) -> Option<String> {
    let text = match &item[key] {
        Value::String(text) => text.chars().filter(|c| *c != '\0').take(TEXT_CHARACTERS).collect(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(text).filter(|text: &String| !text.trim().is_empty())
}

/// A count; the scraper says -1 where it is hidden.
fn count(item: &Value, key: &str) -> Option<u64> {
    match &item[key] {
        // 2^53 is far above anything counted, and keeps sums from overflowing.
        Value::Number(number) => number.as_f64().filter(|n| (0.0..9.0e15).contains(n)).map(|n| n as u64),
        Value::String(text) => text.parse().ok().filter(|n| *n < 1 << 53),
        _ => None,
    }
}

fn flag(item: &Value, key: &str) -> bool {
    item[key].as_bool().unwrap_or(false)
}

/// An address that can be fetched, as it is written; whether it may be is asked later.
fn address(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| text.len() <= ADDRESS_BYTES)?;
    let url = Url::parse(text).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_odd_does_not_hinder() {
        let item = json!({
            "username": "anna", "fullName": null, "followersCount": "1200", "followsCount": -1, "private": "yes",
            "profilePicUrl": "javascript:alert(1)",
            "relatedProfiles": [{"username": "berta"}, {"username": "berta"}, {"username": "anna"}, {"username": "../x"}, 7],
            "latestPosts": [
                {"id": 17, "caption": "a\u{0}b", "likesCount": -1, "commentsCount": 3.0, "timestamp": "2025-05-01T10:00:00.000Z",
                 "displayUrl": "https://cdn/1.jpg", "images": ["https://cdn/1.jpg", "https://cdn/2.jpg", "ftp://x"]},
                {"shortCode": "abc", "timestamp": "yesterday"},
                {"id": "17"}, {"caption": "no id"}, null,
            ],
        });
        let scraped = Scraped::read(&item).expect("a profile");
        assert_eq!(scraped.profile.followers, 1200);
        assert_eq!((scraped.profile.following, scraped.profile.posts, scraped.profile.private), (0, 2, false));
        assert_eq!((scraped.profile.full_name, scraped.profile.picture), (None, None));
        assert_eq!(scraped.profile.related, ["berta"]);
        assert_eq!(scraped.posts.iter().map(|post| post.id.as_str()).collect::<Vec<_>>(), ["17", "abc"]);
        assert_eq!(scraped.posts[0].text, "ab");
        assert_eq!((scraped.posts[0].likes, scraped.posts[0].comments), (None, Some(3)));
        assert_eq!(scraped.posts[0].images, ["https://cdn/1.jpg", "https://cdn/2.jpg"]);
        assert!(scraped.posts[0].at.is_some() && scraped.posts[1].at.is_none());
    }

    #[test]
    fn no_username_no_profile() {
        for item in [json!(null), json!([]), json!({}), json!({"username": ""}), json!({"username": "a b"})] {
            assert_eq!(Scraped::read(&item), None, "{item}");
        }
    }
}
