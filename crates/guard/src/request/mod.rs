//! Requests to guarded routes: what the web frameworks share. Their modules read the request, and make the response.

mod caller;
mod credential;
mod rejection;
mod require;

use std::sync::Arc;

pub use caller::{Authenticated, Require};
pub(crate) use credential::{bearer_token, credential};
pub use rejection::Rejection;
pub use require::RequireAll;

use crate::{Claims, Guard, Refusal};

pub(crate) type Verdict = Result<Arc<Claims>, Refusal>;

/// The result of the middleware, for the extractors behind it.
#[derive(Clone)]
pub(crate) struct Verified {
    claims: Arc<Claims>,
    guard: Guard,
}

/// The guard of a route, or the claims that its middleware has verified.
pub(crate) enum Known {
    Claims(Arc<Claims>, Guard),
    Guard(Guard),
    Nothing,
}

impl Known {
    /// Chooses between the guard that is nearest to the route and the result of a middleware.
    pub(crate) fn of(nearest: Option<&Guard>, verified: Option<&Verified>) -> Self {
        match verified {
            // A guard that is nearer to the route than the middleware may have another issuer or audience: its verdict
            // counts.
            Some(found) if nearest.is_none_or(|guard| guard.is_same(&found.guard)) => {
                Self::Claims(Arc::clone(&found.claims), found.guard.clone())
            }
            _ => nearest.cloned().map_or(Self::Nothing, Self::Guard),
        }
    }
}

/// Verifies the credential of a request without waiting. `None`: the issuer should be waited for.
#[cfg(feature = "actix")]
pub(crate) fn verify_at_once(guard: &Guard, credential: Result<&str, Refusal>) -> Option<Verdict> {
    match credential {
        Ok(token) => guard.authenticate_at_once(token).map(|verdict| verdict.map_err(Refusal::from)),
        Err(refusal) => Some(Err(refusal)),
    }
}

/// Verifies the credential of a request, and waits for the issuer if necessary.
pub(crate) async fn verify(guard: &Guard, credential: Result<&str, Refusal>) -> Verdict {
    Ok(guard.authenticate(credential?).await?)
}

#[cfg(test)]
mod tests;
