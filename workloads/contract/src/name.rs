//! Closed sets of names, such as lanes and worker kinds.

/// A name that is not in its closed set. The message lists the set.
///
/// ```
/// use switchyard_contract::Lane;
///
/// let lane: Lane = "high".parse()?;
/// assert_eq!(lane, Lane::High);
/// assert_eq!(lane.to_string(), "high");
/// assert_eq!(serde_json::to_string(&lane).unwrap(), r#""high""#);
/// assert_eq!(Lane::ALL.len(), 4);
///
/// let error = "urgent".parse::<Lane>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown lane 'urgent'; use one of: critical, high, normal, low");
/// # Ok::<(), switchyard_contract::UnknownName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{given}'; use one of: {known}")]
pub struct UnknownName {
    /// The kind of name, for instance `lane`.
    pub what: &'static str,
    /// The name that was given.
    pub given: String,
    /// The valid names, comma separated.
    pub known: String,
}

/// Declares a closed set of names. The name of a variant is its JSON form, its `Display` and its
/// `FromStr`.
macro_rules! names {
    ($(#[$meta:meta])* $type:ident, $what:literal, { $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        pub enum $type {
            $($(#[$doc])* #[serde(rename = $name)] $variant),+
        }

        impl $type {
            /// All values, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name, as in JSON, SQL, queue names and labels.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::name::UnknownName;

            fn from_str(given: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|v| v.as_str() == given).ok_or_else(|| crate::name::UnknownName {
                    what: $what,
                    given: given.to_owned(),
                    known: Self::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
pub(crate) use names;
