//! The follower of the issuer's feed of revocations.

use std::{
    thread::{self, JoinHandle},
    time::Duration,
};

use reqwest::{Url, header::HeaderValue};
use tokio::{
    runtime, select,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Credentials,
    http::{Client, FetchError},
    page::{Page, Poll},
};
use crate::{BuildError, Guard, Revocation, guard::WeakGuard};

/// The maximum time in seconds that the issuer may wait for a new revocation (long polling).
const WAIT: u16 = 20;
/// The least pause between two fetches of changed keys, between two empty responses, and after a failure.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// The maximum back-off after repeated failures.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// The state of the follower. The guard owns the sender: the follower stops when the guard is dropped.
#[derive(Default)]
pub(super) struct Feed(watch::Sender<State>);

#[derive(Clone, Copy, Default)]
pub(super) struct State {
    /// Whether the whole feed was read once.
    complete: bool,
    /// Whether the last attempt failed.
    failing: bool,
}

impl State {
    fn is_undecided(self) -> bool {
        !self.complete && !self.failing
    }
}

impl Feed {
    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    pub(super) fn expects_first_update(&self) -> bool {
        self.0.borrow().is_undecided()
    }

    pub(super) fn is_failing(&self) -> bool {
        self.0.borrow().failing
    }

    /// Waits until the whole feed was read once, or an attempt failed.
    pub(super) async fn first_update(&self) {
        // No error is possible, since `self` has the sender.
        self.0.subscribe().wait_for(|state| !state.is_undecided()).await.ok();
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
    }
}

/// Starts a thread that follows the feed until the guard is dropped. It has a runtime of its own, since a guard may be
/// built before its caller's runtime starts, and outlive it.
pub(super) fn start(
    guard: &Guard,
    mut state: watch::Receiver<State>,
    client: Client,
    credentials: Credentials,
    max_staleness: Duration,
) -> Result<JoinHandle<()>, BuildError> {
    let follower = Follower {
        guard: guard.downgrade(),
        issuer: guard.issuer().to_owned(),
        client,
        credentials,
        endpoint: None,
        after: None,
        from_the_oldest: Some(Vec::new()),
        wait: wait(max_staleness),
        failing: false,
        keys: None,
        next_fetch: Instant::now(),
    };
    let failed = |error: std::io::Error| BuildError::Thread(error.to_string());
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let run = move || {
        runtime.block_on(async move {
            // `changed` fails when the guard, which has the sender, is dropped.
            let gone = async { while state.changed().await.is_ok() {} };
            select! {
                () = gone => {}
                () = follower.follow() => {}
            }
        });
        // Does not wait for blocking tasks, such as a DNS lookup, which would keep the thread alive.
        runtime.shutdown_background();
    };
    thread::Builder::new().name("revocations".to_owned()).spawn(run).map_err(failed)
}

/// Returns how long the issuer may wait: a third of the maximum staleness at most, so that a feed without revocations is
/// not taken for one that is unreachable.
fn wait(max_staleness: Duration) -> u16 {
    u16::try_from(max_staleness.as_secs() / 3).unwrap_or(WAIT).clamp(1, WAIT)
}

/// The state of the thread.
struct Follower {
    guard: WeakGuard,
    issuer: String,
    client: Client,
    credentials: Credentials,
    /// The URL of the feed, once it was read from the metadata.
    endpoint: Option<Url>,
    /// The cursor after the last page.
    after: Option<String>,
    /// The pages read so far, while the feed is read from the beginning.
    from_the_oldest: Option<Vec<Revocation>>,
    /// For how many seconds the issuer may wait for a new revocation.
    wait: u16,
    failing: bool,
    /// The version of the issuer's keys at the last fetch.
    keys: Option<HeaderValue>,
    /// The earliest time of the next fetch of keys.
    next_fetch: Instant,
}

/// The result of a round.
#[derive(PartialEq, Eq)]
enum Round {
    /// Poll again at once.
    News,
    /// Nothing new: pause before the next poll.
    Nothing,
    /// The guard was dropped.
    Over,
}

impl Follower {
    async fn follow(mut self) {
        let mut pause = SHORT_PAUSE;
        loop {
            let began_at = Instant::now();
            match self.round().await {
                Ok(Round::Over) => return,
                Ok(round) => {
                    if self.failing {
                        tracing::info!(issuer = self.issuer, "the revocations of the issuer can be followed again");
                    }
                    self.set_failing(false);
                    pause = SHORT_PAUSE;
                    if round == Round::Nothing {
                        // An issuer that responds at once instead of waiting must not be polled in a busy loop.
                        sleep_until(began_at + SHORT_PAUSE).await;
                    }
                }
                Err(error) => {
                    if !self.failing {
                        tracing::warn!(issuer = self.issuer, %error, "cannot follow the revocations of the issuer");
                    }
                    self.set_failing(true);
                    // The feed may have moved: the metadata is read again.
                    self.endpoint = None;
                    sleep(pause).await;
                    pause = LONG_PAUSE.min(pause * 2);
                }
            }
        }
    }

    /// Polls once, and applies the page to the guard.
    async fn round(&mut self) -> Result<Round, FetchError> {
        // No long poll while the guard may lack revocations: it would delay the state of the guard for as long as it
        // waits.
        let wait = if self.failing || self.from_the_oldest.is_some() { 0 } else { self.wait };
        let Some(page) = self.page(wait).await? else {
            tracing::info!(issuer = self.issuer, "the issuer's revocations are read from the oldest again");
            // The cursor is unknown: its revocation was deleted, or the issuer was restored from a backup.
            self.after = None;
            self.from_the_oldest = Some(Vec::new());
            return Ok(Round::Nothing);
        };
        let Some(guard) = self.guard.upgrade() else { return Ok(Round::Over) };
        let is_idle = page.items.is_empty() && wait > 0;
        self.take(&guard, page.items, page.is_full);
        // After `take`: a cursor ahead of the guard would skip revocations for good.
        self.after = Some(page.next);
        // Not held while this waits: a guard ends when its owner drops it.
        drop(guard);
        // Not between pages: a fetch of keys would delay revocations that are there to be read.
        if let Some(keys) = page.keys.filter(|_| !page.is_full) {
            self.see_keys(keys).await?;
        }
        Ok(if is_idle { Round::Nothing } else { Round::News })
    }

    /// Requests the next page. `None`: the issuer does not know the cursor.
    async fn page(&mut self, wait: u16) -> Result<Option<Page>, FetchError> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint,
            None => self.endpoint.insert(self.client.revocations_endpoint().await?),
        };
        let poll = Poll { credentials: &self.credentials, after: self.after.as_deref(), wait };
        match self.client.poll(endpoint, &poll).await? {
            Some(response) => Page::of(response).await.map(Some),
            None => Ok(None),
        }
    }

    /// Passes a page to the guard. While the feed is read from the beginning, the pages are collected: only the whole
    /// feed may replace the revocations of the guard, since a part of it would accept revoked tokens again.
    fn take(&mut self, guard: &Guard, items: Vec<Revocation>, has_more: bool) {
        match (&mut self.from_the_oldest, has_more) {
            (Some(read), true) => read.extend(items),
            (Some(read), false) => {
                read.extend(items);
                guard.apply_revocations(std::mem::take(read), true);
                self.from_the_oldest = None;
                set(guard, |state| state.complete = true);
            }
            (None, true) => guard.learn_revocations(items),
            (None, false) => guard.apply_revocations(items, false),
        }
    }

    /// Fetches the keys if their version has changed, and for the first page: they may have changed since an earlier
    /// fetch.
    async fn see_keys(&mut self, keys: HeaderValue) -> Result<(), FetchError> {
        if self.keys.as_ref() == Some(&keys) {
            return Ok(());
        }
        sleep_until(self.next_fetch).await;
        let Some(guard) = self.guard.upgrade() else { return Ok(()) };
        self.next_fetch = Instant::now() + SHORT_PAUSE;
        let Some(source) = guard.source() else { return Ok(()) };
        if !source.refetch(&guard).await {
            return Err(FetchError::OtherKeys);
        }
        // Only after a success: the next page tries again.
        self.keys = Some(keys);
        Ok(())
    }

    fn set_failing(&mut self, failing: bool) {
        self.failing = failing;
        if let Some(guard) = self.guard.upgrade() {
            set(&guard, |state| state.failing = failing);
        }
    }
}

fn set(guard: &Guard, change: impl FnOnce(&mut State)) {
    if let Some(feed) = guard.source().and_then(|source| source.feed.as_ref()) {
        feed.set(change);
    }
}

#[cfg(test)]
mod tests;
