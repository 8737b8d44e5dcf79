//! Quotas: how many of something are free within a window of time.

use std::{fmt, time::Duration};

use super::check::parse;

/// How many failures or requests are free within a window, such as `10/1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The number, at least 1.
    pub count: u32,
    /// The window, at least one second.
    pub window: Duration,
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, humantime::format_duration(self.window))
    }
}

/// `10/1h`, or `off`, which is `None`.
pub(super) fn quota(text: &str) -> Result<Option<Quota>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let allowed = || {
        "allowed is NUMBER/DURATION such as 10/1h or 100/10m, with a number from 1 to 1000000000 and whole seconds, or off"
            .to_owned()
    };
    let (count, window) = text.split_once('/').ok_or_else(allowed)?;
    let count = count.trim().parse().ok().filter(|count| (1..=1_000_000_000).contains(count)).ok_or_else(allowed)?;
    let window = parse::duration(window.trim()).map_err(|_| allowed())?;
    if window.subsec_nanos() > 0 {
        return Err(allowed());
    }
    Ok(Some(Quota { count, window }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas() {
        let of = |count, seconds| Ok(Some(Quota { count, window: Duration::from_secs(seconds) }));
        assert_eq!(quota("10/1h"), of(10, 3600));
        assert_eq!(quota("500 / 1s"), of(500, 1));
        assert_eq!(quota("off"), Ok(None));
        for wrong in ["", "10", "0/1h", "-1/1h", "10/0s", "10/h", "10/1h/2", "10/1500ms", "4294967296/1s", "on"] {
            assert!(quota(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Quota { count: 10, window: Duration::from_mins(10) }.to_string(), "10/10m");
    }
}
