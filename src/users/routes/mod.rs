//! Users over HTTP: for administrators, and for users themselves.

pub(crate) mod access;
pub(crate) mod admin;
pub(crate) mod me;
