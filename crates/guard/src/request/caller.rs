//! Extractors: the signature of a handler states the required scopes.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use crate::{Claims, Refusal, RequiredScopes};

/// An extractor that requires a valid access token (or API key, if the guard accepts them), with any scope. It
/// dereferences to the [`Claims`] of the token.
#[derive(Clone, Debug)]
pub struct Authenticated(pub(crate) Arc<Claims>);

impl Authenticated {
    /// Returns the claims of the token.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.0
    }
}

impl Deref for Authenticated {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.0
    }
}

/// An extractor that requires a valid access token with the scopes `S`: a type of [`scopes!`](crate::scopes), or a tuple
/// of such types, all of which are required. It dereferences to the [`Claims`] of the token.
#[derive(Debug)]
pub struct Require<S> {
    claims: Arc<Claims>,
    scopes: PhantomData<fn() -> S>,
}

impl<S> Require<S> {
    /// Returns the claims of the token.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }
}

impl<S: RequiredScopes> Require<S> {
    pub(crate) fn of(claims: Arc<Claims>) -> Result<Self, Refusal> {
        if S::are_in(&claims.scope) {
            Ok(Self { claims, scopes: PhantomData })
        } else {
            Err(Refusal::Scope(S::needed()))
        }
    }
}

impl<S> Deref for Require<S> {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.claims
    }
}
