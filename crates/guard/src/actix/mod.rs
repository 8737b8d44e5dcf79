//! Guards routes of actix-web services.
//!
//! A service adds its [`Guard`](crate::Guard) to the app with `.app_data(guard.clone())`, without `web::Data`. The
//! signature of a handler then states what it requires: [`Require`] for scopes, [`Authenticated`] for any valid token.
//! Use [`Guard::require`](crate::Guard::require) to guard a whole `web::scope`.

mod answer;
mod bearer;
mod extract;
mod scopes;
mod transform;

pub use answer::Rejection;
pub use bearer::bearer_token;
pub use extract::{Authenticated, Require};
pub use scopes::RequiredScopes;
pub use transform::{RequireAll, RequireAllService};

#[cfg(test)]
mod tests;
