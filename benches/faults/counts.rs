//! The numbers of requests, by their results.

use std::fmt;

use crate::Outcome;

/// Successes in a second of load that a debug build reaches on a slow and busy machine. With fewer, a run says little.
const LEAST_SUCCESSES: u64 = 20;

#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    /// Answers 502 to 504, which say nothing.
    pub(crate) unavailable: u64,
    pub(crate) lost: u64,
    pub(crate) unsent: u64,
}

impl Counts {
    /// Returns the number of answers that were checked.
    pub(crate) fn answers(&self) -> u64 {
        self.done + self.refused
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.refused += other.refused;
        self.unavailable += other.unavailable;
        self.lost += other.lost;
        self.unsent += other.unsent;
    }

    /// Checks that a load of this duration was one.
    pub(crate) fn check(&self, seconds: u64) -> Outcome<()> {
        if self.done < seconds * LEAST_SUCCESSES {
            return Err(format!("too few successes in {seconds} s of load: {self}").into());
        }
        if self.unavailable > self.answers() {
            return Err(format!("most answers were 502 to 504: {self}").into());
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, refused, unavailable, lost, unsent } = self;
        write!(f, "{done} successes, {refused} refusals, {unavailable} unavailable, {lost} lost, {unsent} not sent")
    }
}
