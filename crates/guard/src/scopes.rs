//! Scopes as types: the signature of a handler states the required scopes, and a misspelt type does not compile.

use crate::Scopes;

/// The scopes that a route requires: a type of [`scopes!`](crate::scopes), or a tuple of such types.
pub trait RequiredScopes: 'static {
    /// Returns whether the set has all required scopes.
    fn are_in(scopes: &Scopes) -> bool;

    /// Returns the required scopes, for the challenge.
    fn needed() -> Scopes;
}

macro_rules! tuples {
    ($(($($part:ident),+);)+) => { $(
        /// Requires the scopes of all elements.
        impl<$($part: RequiredScopes),+> RequiredScopes for ($($part,)+) {
            fn are_in(scopes: &Scopes) -> bool {
                $($part::are_in(scopes))&&+
            }

            fn needed() -> Scopes {
                [$($part::needed()),+].into_iter().flatten().collect()
            }
        }
    )+ };
}

tuples! {
    (A);
    (A, B);
    (A, B, C);
    (A, B, C, D);
}

/// Defines a type for each scope, for use with the extractor `Require` of each web framework.
///
/// ```
/// grantd_guard::scopes! {
///     /// List and read items.
///     pub ItemsRead = "items:read";
///     /// Create, update and delete items.
///     pub ItemsWrite = "items:write";
/// }
/// assert_eq!(ItemsRead::SCOPE.as_str(), "items:read");
/// ```
///
/// A name that is not a scope-token (RFC 6749 §3.3) is a compile error:
///
/// ```compile_fail
/// grantd_guard::scopes! { pub ItemsRead = "items read"; }
/// ```
#[macro_export]
macro_rules! scopes {
    ($($(#[$about:meta])* $visible:vis $name:ident = $scope:literal;)+) => { $(
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        $visible struct $name;

        impl $name {
            #[doc = concat!("`", $scope, "`")]
            $visible const SCOPE: $crate::Scope = $crate::Scope::from_static($scope);
        }

        // Forces the check of the name at compile time, even if the constant is not used.
        const _: $crate::Scope = $name::SCOPE;

        impl $crate::RequiredScopes for $name {
            fn are_in(scopes: &$crate::Scopes) -> bool {
                scopes.contains($scope)
            }

            fn needed() -> $crate::Scopes {
                ::core::iter::once(Self::SCOPE).collect()
            }
        }
    )+ };
}
