//! Guards routes of actix-web services.
//!
//! A service gives its [`Guard`](crate::Guard) to the app with `.app_data(guard.clone())` (the guard itself, not in `web::Data`). Handlers then
//! say in their signature what they need: [`Require`] for scopes, [`Authenticated`] for any valid token. A whole
//! `web::scope` is guarded with [`Guard::require`](crate::Guard::require).

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
