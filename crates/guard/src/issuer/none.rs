//! The source of keys without the feature `issuer`: a type without values, so that none of these functions ever runs.

use std::{future::Ready, sync::Arc};

use crate::{AuthenticateError, Claims, Guard};

pub(crate) enum Source {}

impl Source {
    pub(crate) fn never_reached(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_stale(&self, _now: i64) -> bool {
        match *self {}
    }

    pub(crate) fn is_worth_waiting_for(&self, _guard: &Guard, _now: i64, _urgent: bool) -> bool {
        match *self {}
    }

    pub(crate) fn retry_after(&self, _now: i64) -> u32 {
        match *self {}
    }

    pub(crate) fn expects_first_update(&self) -> bool {
        match *self {}
    }

    pub(crate) fn fails_to_follow(&self) -> bool {
        match *self {}
    }

    pub(crate) fn first_update(&self) -> Ready<()> {
        match *self {}
    }

    pub(crate) fn verify_api_key(&self, _guard: &Guard, _key: &str) -> Ready<Result<Arc<Claims>, AuthenticateError>> {
        match *self {}
    }

    #[cfg(feature = "actix")]
    pub(crate) fn verdict_on_api_key(&self, _: &Guard, _: &str) -> Option<Result<Arc<Claims>, AuthenticateError>> {
        match *self {}
    }

    #[cfg(any(feature = "actix", feature = "axum"))]
    pub(crate) fn accepts_api_keys(&self) -> bool {
        match *self {}
    }

    pub(crate) fn wait_for_keys(&self, _guard: &Guard, _urgent: bool) -> Ready<()> {
        match *self {}
    }
}
