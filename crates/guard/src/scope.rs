//! Scopes: what a token is good for (RFC 6749 §3.3).

use std::{
    borrow::{Borrow, Cow},
    collections::BTreeSet,
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One scope-token: a name such as `items:read`.
///
/// RFC 6749 §3.3 allows `%x21 / %x23-5B / %x5D-7E`: printable ASCII less space, `"` and `\`. Case counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Cow<'static, str>);

impl Scope {
    /// A scope whose name is known when the program is compiled.
    ///
    /// # Panics
    /// If `name` is no scope-token: in a `const`, that is an error of compilation.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        assert!(is_scope_token(name.as_bytes()), "not a scope-token of RFC 6749 section 3.3");
        Self(Cow::Borrowed(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_scope_token(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !matches!(name[at], 0x21 | 0x23..=0x5B | 0x5D..=0x7E) {
            return false;
        }
        at += 1;
    }
    !name.is_empty()
}

/// The text is no scope-token, or no list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a scope: printable ASCII without space, quote and backslash is allowed")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(name: &str) -> Result<Self, InvalidScope> {
        if is_scope_token(name.as_bytes()) { Ok(Self(Cow::Owned(name.to_owned()))) } else { Err(InvalidScope) }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Scope {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A set of scopes. Its text form is OAuth's: names with one space between, here sorted and without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many scopes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a scope is in it, by name.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// Whether all of `needed` are in it.
    #[must_use]
    pub fn contains_all(&self, needed: &Self) -> bool {
        needed.0.is_subset(&self.0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// Adds one.
    pub fn insert(&mut self, scope: Scope) {
        self.0.insert(scope);
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromStr for Scopes {
    type Err = InvalidScope;

    /// Reads `scope *( SP scope )`; the empty text is the empty set, and spaces may stand in rows (clients do that).
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        text.split(' ').filter(|name| !name.is_empty()).map(str::parse).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl IntoIterator for Scopes {
    type Item = Scope;
    type IntoIter = std::collections::btree_set::IntoIter<Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// As in a token: one string.
impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_parses_prints_and_parses_to_the_same(text in "\\PC{0,60}") {
            if let Ok(scopes) = text.parse::<Scopes>() {
                prop_assert_eq!(scopes.to_string().parse::<Scopes>(), Ok(scopes));
            }
        }

        #[test]
        fn a_scope_is_made_of_the_characters_of_the_rfc(name in ".{0,12}") {
            let allowed = !name.is_empty() && name.bytes().all(|b| b == 0x21 || (0x23..=0x5B).contains(&b) || (0x5D..=0x7E).contains(&b));
            prop_assert_eq!(name.parse::<Scope>().is_ok(), allowed);
        }
    }

    #[test]
    fn sets_are_sorted_and_without_repeats() {
        let scopes: Scopes = "b:read a  b:read".parse().unwrap();
        assert_eq!(scopes.to_string(), "a b:read");
        assert!(scopes.contains("a") && !scopes.contains("A"));
    }
}
