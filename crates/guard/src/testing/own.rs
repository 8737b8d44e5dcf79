//! Shorthands of this crate's own tests: the token of `alice` with the scope `items:read`, and changes to it.

use serde_json::{Value, json};

use super::{Signer, Token};

fn token(changes: Value) -> Token {
    let Value::Object(changes) = changes else { panic!("objects only") };
    let token = Token::of_user("alice").scope("items:read");
    changes.into_iter().fold(token, |token, (name, value)| token.claim(&name, value))
}

/// Returns the claims of a valid token, with changes; `null` removes a claim.
pub(crate) fn claims(changes: Value) -> Value {
    Value::Object(token(changes).claims)
}

impl Signer {
    /// Returns a valid token with some claims changed.
    pub(crate) fn token(&self, changes: Value) -> String {
        token(changes).sign(self)
    }

    /// Returns a valid token with some header parameters changed; `null` removes a parameter.
    pub(crate) fn token_with_header(&self, changes: Value) -> String {
        let Value::Object(changes) = changes else { panic!("objects only") };
        let token = changes.into_iter().fold(token(json!({})), |token, (name, value)| token.header(&name, value));
        token.sign(self)
    }

    /// Returns the header of a valid token.
    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.alg(), "kid": self.kid(), "typ": "at+jwt"})
    }
}
