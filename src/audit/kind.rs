//! The kinds of audit events.

use crate::validation::named_enum;

named_enum! {
    /// The kind of an event.
    Kind in "kind" {
        #[doc = "`login`"] Login = "login",
        #[doc = "`login.failed`"] LoginFailed = "login.failed",
        #[doc = "`login.throttled`"] LoginThrottled = "login.throttled",
        #[doc = "`refresh_token.reused`"] RefreshTokenReused = "refresh_token.reused",
        #[doc = "`session.ended`"] SessionEnded = "session.ended",
        #[doc = "`token.revoked`"] TokenRevoked = "token.revoked",
        #[doc = "`user.created`"] UserCreated = "user.created",
        #[doc = "`user.changed`"] UserChanged = "user.changed",
        #[doc = "`user.deleted`"] UserDeleted = "user.deleted",
        #[doc = "`user.disabled`"] UserDisabled = "user.disabled",
        #[doc = "`user.enabled`"] UserEnabled = "user.enabled",
        #[doc = "`user.password_changed`"] UserPasswordChanged = "user.password_changed",
        #[doc = "`user.unlocked`"] UserUnlocked = "user.unlocked",
        #[doc = "`user.roles_changed`"] UserRolesChanged = "user.roles_changed",
        #[doc = "`user.imported`"] UserImported = "user.imported",
        #[doc = "`role.created`"] RoleCreated = "role.created",
        #[doc = "`role.changed`"] RoleChanged = "role.changed",
        #[doc = "`role.deleted`"] RoleDeleted = "role.deleted",
        #[doc = "`scope.created`"] ScopeCreated = "scope.created",
        #[doc = "`scope.changed`"] ScopeChanged = "scope.changed",
        #[doc = "`scope.deleted`"] ScopeDeleted = "scope.deleted",
        #[doc = "`client.created`"] ClientCreated = "client.created",
        #[doc = "`client.changed`"] ClientChanged = "client.changed",
        #[doc = "`client.deleted`"] ClientDeleted = "client.deleted",
        #[doc = "`client.disabled`"] ClientDisabled = "client.disabled",
        #[doc = "`client.enabled`"] ClientEnabled = "client.enabled",
        #[doc = "`client.failed`"] ClientFailed = "client.failed",
        #[doc = "`client.secret_rotated`"] ClientSecretRotated = "client.secret_rotated",
        #[doc = "`api_key.created`"] ApiKeyCreated = "api_key.created",
        #[doc = "`api_key.deleted`"] ApiKeyDeleted = "api_key.deleted",
        #[doc = "`signing_key.created`"] SigningKeyCreated = "signing_key.created",
        #[doc = "`signing_key.deleted`"] SigningKeyDeleted = "signing_key.deleted",
        #[doc = "`signing_key.rewrapped`"] SigningKeyRewrapped = "signing_key.rewrapped",
    }
}
