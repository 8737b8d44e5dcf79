//! Routes of users: `/admin/users`, `/users/me` and self-registration.

pub(crate) mod access;
pub(crate) mod admin;
pub(crate) mod export;
pub(crate) mod me;
