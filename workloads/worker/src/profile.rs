//! A profile and its posts, parsed from the scraper's output.
//!
//! The scraper is third-party and changes without notice: fields may be missing, null or of another
//! type. Parsing tolerates all of that. It bounds every size, because the result is stored in the
//! database.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// Posts of one profile; the scraper returns the newest first.
const MAX_POSTS: usize = 1000;
/// Images of one post.
const MAX_IMAGES_PER_POST: usize = 10;
/// Related profiles of one profile.
const MAX_RELATED: usize = 50;
/// Characters of a text; the rest is cut off.
const MAX_TEXT_CHARACTERS: usize = 10_000;
/// Bytes of a URL; longer ones are dropped.
const MAX_URL_BYTES: usize = 4096;

/// The profile itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub username: String,
    pub full_name: Option<String>,
    pub biography: Option<String>,
    pub url: Option<String>,
    pub followers: u64,
    pub following: u64,
    /// All posts of the profile, of which only the newest are analysed.
    pub posts: u64,
    pub private: bool,
    pub verified: bool,
    /// URL of the profile's picture.
    pub picture: Option<String>,
    /// Usernames of related profiles, best first.
    pub related: Vec<String>,
}

/// One post.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    pub id: String,
    pub url: Option<String>,
    /// The caption; may be empty.
    pub text: String,
    /// `None` if the author hides the number.
    pub likes: Option<u64>,
    pub comments: Option<u64>,
    pub at: Option<DateTime<Utc>>,
    /// URLs of its images, without duplicates.
    pub images: Vec<String>,
}

/// A profile with its posts, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrapedProfile {
    pub profile: Profile,
    pub posts: Vec<Post>,
}

impl ScrapedProfile {
    /// Parses an item of the scraper's dataset; `None` if it has no valid username.
    pub fn parse(item: &Value) -> Option<Self> {
        let username = text(item, "username").filter(|name| is_username(name))?;
        let mut seen = HashSet::new();
        let posts: Vec<Post> = entries(item, "latestPosts")
            .filter_map(post)
            .filter(|post| seen.insert(post.id.clone()))
            .take(MAX_POSTS)
            .collect();
        let mut related: Vec<String> = Vec::new();
        for name in entries(item, "relatedProfiles").filter_map(|profile| text(profile, "username")) {
            if is_username(&name) && name != username && !related.contains(&name) && related.len() < MAX_RELATED {
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
            picture: ["profilePicUrlHD", "profilePicUrl"].iter().find_map(|key| url(&item[*key])),
            related,
            username,
        };
        Some(Self { profile, posts })
    }
}

/// Whether `name` can be a username: 1 to 64 ASCII letters, digits, dots, dashes and underscores.
pub fn is_username(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn post(item: &Value) -> Option<Post> {
    let id = text(item, "id").or_else(|| text(item, "shortCode"))?;
    let mut images: Vec<String> = Vec::new();
    let slides = entries(item, "childPosts").map(|child| &child["displayUrl"]);
    for url in std::iter::once(&item["displayUrl"]).chain(entries(item, "images")).chain(slides).filter_map(url) {
        if !images.contains(&url) && images.len() < MAX_IMAGES_PER_POST {
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

/// A non-blank text; numbers are converted. NUL is removed, because PostgreSQL cannot store it in
/// JSON.
fn text(item: &Value, key: &str) -> Option<String> {
    let text = match &item[key] {
        Value::String(text) => text.chars().filter(|c| *c != '\0').take(MAX_TEXT_CHARACTERS).collect(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(text).filter(|text: &String| !text.trim().is_empty())
}

/// A count; the scraper reports hidden counts as -1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative and below 2^53")]
fn count(item: &Value, key: &str) -> Option<u64> {
    match &item[key] {
        // The bound of about 2^53 is above every real count and keeps sums from overflowing.
        Value::Number(number) => number.as_f64().filter(|n| (0.0..9.0e15).contains(n)).map(|n| n as u64),
        Value::String(text) => text.parse().ok().filter(|n| *n < 1 << 53),
        _ => None,
    }
}

fn flag(item: &Value, key: &str) -> bool {
    item[key].as_bool().unwrap_or(false)
}

/// An http or https URL. Whether it may be fetched is decided by the address policy, later.
fn url(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| text.len() <= MAX_URL_BYTES)?;
    let parsed = Url::parse(text).ok()?;
    matches!(parsed.scheme(), "http" | "https").then(|| parsed.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn missing_and_malformed_fields_are_tolerated() {
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
        let scraped = ScrapedProfile::parse(&item).expect("a profile");
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
    fn item_without_username_is_no_profile() {
        for item in [json!(null), json!([]), json!({}), json!({"username": ""}), json!({"username": "a b"})] {
            assert_eq!(ScrapedProfile::parse(&item), None, "{item}");
        }
    }
}
