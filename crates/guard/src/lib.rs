//! Verifies grantd's access tokens offline and guards routes by scope.
mod claims;
mod scope;
pub use claims::{Audience, Claims};
pub use scope::{InvalidScope, Scope, Scopes};
