//! The kinds of audit events.

use std::str::FromStr;

use utoipa::openapi::{ObjectBuilder, Type, schema::Object};

use crate::error::{Code, FieldError};

macro_rules! kinds {
    ($($kind:ident = $name:literal,)+) => {
        /// The kind of an event. Callers rely on the list being complete.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $(#[doc = concat!("`", $name, "`")] $kind,)+
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Returns its name, as it is stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    Login = "login",
    LoginFailed = "login.failed",
    RefreshTokenReused = "refresh_token.reused",
    SessionEnded = "session.ended",
    TokenRevoked = "token.revoked",
    UserCreated = "user.created",
    UserChanged = "user.changed",
    UserDeleted = "user.deleted",
    UserDisabled = "user.disabled",
    UserEnabled = "user.enabled",
    UserPasswordChanged = "user.password_changed",
    UserRolesChanged = "user.roles_changed",
    RoleCreated = "role.created",
    RoleChanged = "role.changed",
    RoleDeleted = "role.deleted",
    ScopeCreated = "scope.created",
    ScopeChanged = "scope.changed",
    ScopeDeleted = "scope.deleted",
    ClientCreated = "client.created",
    ClientChanged = "client.changed",
    ClientDeleted = "client.deleted",
    ClientDisabled = "client.disabled",
    ClientEnabled = "client.enabled",
    ClientFailed = "client.failed",
    ClientSecretRotated = "client.secret_rotated",
    SigningKeyCreated = "signing_key.created",
    SigningKeyDeleted = "signing_key.deleted",
    SigningKeyRewrapped = "signing_key.rewrapped",
}

fn names() -> Vec<&'static str> {
    Kind::ALL.iter().map(|kind| kind.as_str()).collect()
}

impl FromStr for Kind {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let unknown = || FieldError::new("kind", Code::Unknown, format!("must be one of {}", names().join(", ")));
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(unknown)
    }
}

/// Returns the kinds for the OpenAPI description.
pub(super) fn schema() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names())).build()
}
