def percent: "\(. * 100 | round) %";
"",
"Profile \(.profile.username): \(.profile.followers // .profile.followersCount // 0) followers, \(.posts | length) posts, model \(.model.name) \(.model.version)\(if .model.fallback then " (fallback)" else "" end)",
"",
(["post", "lang", "sentiment", "category", "score", "images"] | @tsv),
(.posts[] | [(.id | tostring | .[-10:]), .language, .sentiment.label, .category.label, (.category.score | percent), (.images | length | tostring)] | @tsv),
"",
"Languages   \(.aggregate.languages | tojson)",
"Sentiment   \(.aggregate.sentiment | tojson)",
"Categories  \(.aggregate.categories | tojson)",
"Engagement  \(.aggregate.engagement_rate)"
