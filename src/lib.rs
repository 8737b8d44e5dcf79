//! grantd.
