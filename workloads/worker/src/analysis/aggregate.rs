//! Aggregate figures over the posts of a profile.

use std::collections::BTreeMap;

use serde::Serialize;

/// What the aggregate needs of a post.
#[derive(Debug, Clone)]
pub struct PostSummary<'a> {
    pub language: &'a str,
    pub sentiment: &'a str,
    pub category: &'a str,
    /// `None` if hidden.
    pub likes: Option<u64>,
    pub comments: Option<u64>,
}

/// Figures over all posts. The shares of a map sum to 1, or to 0 if there are no posts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Aggregate {
    /// Share of posts by language.
    pub languages: BTreeMap<String, f64>,
    /// Share of posts by sentiment.
    pub sentiment: BTreeMap<String, f64>,
    /// Share of posts by category.
    pub categories: BTreeMap<String, f64>,
    /// Mean of likes plus comments over the posts that show their likes, divided by the number of
    /// followers. 0 without followers or such posts.
    pub engagement_rate: f64,
}

/// Sentiments that are always listed, with 0 if no post has them.
const SENTIMENTS: [&str; 3] = ["negative", "neutral", "positive"];

/// Aggregates the `posts` of a profile with `followers` followers.
pub fn aggregate(followers: u64, posts: &[PostSummary<'_>]) -> Aggregate {
    let mut sentiment = shares(posts.iter().map(|post| post.sentiment));
    for name in SENTIMENTS {
        sentiment.entry(name.to_owned()).or_insert(0.0);
    }
    Aggregate {
        languages: shares(posts.iter().map(|post| post.language)),
        sentiment,
        categories: shares(posts.iter().map(|post| post.category)),
        engagement_rate: engagement_rate(followers, posts),
    }
}

fn shares<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> BTreeMap<String, f64> {
    let total = names.len() as f64;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for name in names {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts.into_iter().map(|(name, count)| (name, f64::from(count) / total)).collect()
}

fn engagement_rate(followers: u64, posts: &[PostSummary<'_>]) -> f64 {
    let engaged: Vec<f64> = posts
        .iter()
        .filter_map(|post| post.likes.map(|likes| likes as f64 + post.comments.unwrap_or(0) as f64))
        .collect();
    if followers == 0 || engaged.is_empty() {
        return 0.0;
    }
    engaged.iter().sum::<f64>() / engaged.len() as f64 / followers as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn summary(
        language: &'static str,
        sentiment: &'static str,
        likes: Option<u64>,
        comments: u64,
    ) -> PostSummary<'static> {
        PostSummary { language, sentiment, category: "sports", likes, comments: Some(comments) }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact results")]
    fn shares_and_engagement_of_three_posts() {
        let posts = [
            summary("en", "positive", Some(90), 10),
            summary("en", "neutral", Some(40), 10),
            summary("tr", "positive", None, 1_000_000),
        ];
        let all = aggregate(1000, &posts);
        assert_eq!(all.languages["en"], 2.0 / 3.0);
        assert_eq!(all.sentiment["positive"], 2.0 / 3.0);
        assert_eq!(all.sentiment["negative"], 0.0);
        assert_eq!(all.categories["sports"], 1.0);
        assert_eq!(all.engagement_rate, 0.075, "posts with hidden likes are left out of the mean");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact results")]
    fn zero_followers_and_zero_posts_give_zeros() {
        assert_eq!(aggregate(0, &[summary("en", "neutral", Some(5), 5)]).engagement_rate, 0.0);
        let empty = aggregate(10, &[]);
        assert!(empty.languages.is_empty() && empty.categories.is_empty());
        assert_eq!(empty.sentiment.values().sum::<f64>(), 0.0);
    }

    fn any_post() -> impl Strategy<Value = PostSummary<'static>> {
        let name = prop::sample::select(vec!["en", "de", "ja", "und"]);
        let mood = prop::sample::select(vec!["positive", "neutral", "negative"]);
        let kind = prop::sample::select(vec!["sports", "music", "food"]);
        let number = || prop::option::of(0..1u64 << 53);
        (name, mood, kind, number(), number()).prop_map(|(language, sentiment, category, likes, comments)| {
            PostSummary { language, sentiment, category, likes, comments }
        })
    }

    proptest! {
        #[test]
        fn shares_sum_to_one_and_order_does_not_matter(
            posts in prop::collection::vec(any_post(), 1..40), followers in any::<u64>(), rotation in any::<prop::sample::Index>(),
        ) {
            let all = aggregate(followers, &posts);
            for shares in [&all.languages, &all.sentiment, &all.categories] {
                prop_assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-9);
                prop_assert!(shares.values().all(|share| (0.0..=1.0).contains(share)));
            }
            prop_assert!(all.engagement_rate.is_finite() && all.engagement_rate >= 0.0);

            let mut rotated = posts.clone();
            rotated.rotate_left(rotation.index(posts.len()));
            let again = aggregate(followers, &rotated);
            prop_assert_eq!((&all.languages, &all.sentiment, &all.categories), (&again.languages, &again.sentiment, &again.categories));
            prop_assert!((all.engagement_rate - again.engagement_rate).abs() <= all.engagement_rate * 1e-9);
        }

        #[test]
        fn doubling_likes_doubles_engagement(likes in prop::collection::vec(0..1u64 << 40, 1..20), followers in 1..1u64 << 40) {
            let rate = |factor: u64| {
                let posts: Vec<PostSummary<'_>> = likes.iter().map(|likes| PostSummary { likes: Some(likes * factor), comments: Some(0), ..summary("en", "neutral", None, 0) }).collect();
                aggregate(followers, &posts).engagement_rate
            };
            prop_assert!((rate(2) - 2.0 * rate(1)).abs() <= rate(2) * 1e-9);
        }
    }
}
