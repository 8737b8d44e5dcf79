//! The audit log.

use std::time::Duration;

use clap::Args;

use super::check::{Check, parse};

#[derive(Args, Clone)]
#[command(next_help_heading = "Log and audit")]
pub(super) struct AuditSettings {
    /// Retention period of audit events
    #[arg(long, env = "GRANTD_AUDIT_RETENTION", value_name = "DURATION", default_value = "365d")]
    audit_retention: String,
}

/// The audit log.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// How long events are kept.
    pub retention: Duration,
}

impl AuditSettings {
    pub(super) fn check(&self, check: &mut Check) -> Option<AuditConfig> {
        let retention = check.value("GRANTD_AUDIT_RETENTION", &self.audit_retention, parse::duration)?;
        Some(AuditConfig { retention })
    }
}
