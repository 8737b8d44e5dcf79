//! Scopes as types, so that a handler's signature says what it needs and a misspelt scope does not compile.

use crate::Scopes;

/// What a route needs: made by [`scopes!`](crate::scopes), and tuples of those.
pub trait RequiredScopes: 'static {
    /// Whether all that is needed is there.
    fn are_in(scopes: &Scopes) -> bool;

    /// What is needed, for the challenge.
    fn needed() -> Scopes;
}

macro_rules! tuples {
    ($(($($part:ident),+);)+) => { $(
        /// All of them are needed.
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

/// Makes a type for each scope, for use with [`Require`](crate::actix::Require).
///
/// ```
/// grantd_guard::scopes! {
///     /// See items.
///     pub ItemsRead = "items:read";
///     /// Change items.
///     pub ItemsWrite = "items:write";
/// }
/// assert_eq!(ItemsRead::SCOPE.as_str(), "items:read");
/// ```
///
/// What is no scope-token of RFC 6749 §3.3 is an error of compilation:
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

        // Looks at the name even where nobody uses the constant.
        const _: $crate::Scope = $name::SCOPE;

        impl $crate::actix::RequiredScopes for $name {
            fn are_in(scopes: &$crate::Scopes) -> bool {
                scopes.contains($scope)
            }

            fn needed() -> $crate::Scopes {
                ::core::iter::once(Self::SCOPE).collect()
            }
        }
    )+ };
}
