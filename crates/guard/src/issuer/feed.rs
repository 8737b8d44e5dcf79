//! Follows the issuer's feed of revocations.

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

/// For how many seconds the issuer should wait for news while it has none, at most.
const WAIT: u16 = 20;
/// The least between two fetches of keys that changed, between two answers without news, and after a failure.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// The most after a row of failures.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// The state of the follower. The guard owns it: the follower stops when the guard is dropped.
#[derive(Default)]
pub(super) struct Feed(watch::Sender<State>);

#[derive(Clone, Copy, Default)]
pub(super) struct State {
    /// Whether the whole feed was heard once.
    heard: bool,
    /// Whether the last attempt failed.
    failing: bool,
}

impl State {
    fn is_undecided(self) -> bool {
        !self.heard && !self.failing
    }
}

impl Feed {
    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    pub(super) fn hears_soon(&self) -> bool {
        self.0.borrow().is_undecided()
    }

    pub(super) fn is_failing(&self) -> bool {
        self.0.borrow().failing
    }

    /// Waits until the whole feed was heard once, or that failed.
    pub(super) async fn first_hearing(&self) {
        // It cannot be over while `self` is there.
        self.0.subscribe().wait_for(|state| !state.is_undecided()).await.ok();
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
    }
}

/// Follows the feed for as long as the guard lives: on a thread of its own, since the runtime of whoever builds the guard
/// may end before that, and may not even be there yet.
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
            // The state changes until the guard that has it is gone.
            let gone = async { while state.changed().await.is_ok() {} };
            select! {
                () = gone => {}
                () = follower.follow() => {}
            }
        });
        // A name that is still looked up is no reason to stay.
        runtime.shutdown_background();
    };
    thread::Builder::new().name("revocations".to_owned()).spawn(run).map_err(failed)
}

/// Short enough that quiet is not taken for silence.
fn wait(max_staleness: Duration) -> u16 {
    u16::try_from(max_staleness.as_secs() / 3).unwrap_or(WAIT).clamp(1, WAIT)
}

/// What the thread has.
struct Follower {
    guard: WeakGuard,
    issuer: String,
    client: Client,
    credentials: Credentials,
    /// Where the feed is, as far as is known.
    endpoint: Option<Url>,
    /// Where the last page ended.
    after: Option<String>,
    /// What was read since the oldest, while the rest of the feed has not come.
    from_the_oldest: Option<Vec<Revocation>>,
    /// For how many seconds the issuer should wait for news.
    wait: u16,
    failing: bool,
    /// Which keys the issuer had when they were fetched last.
    keys: Option<HeaderValue>,
    /// When they may be fetched again.
    next_fetch: Instant,
}

/// How a round went.
#[derive(PartialEq, Eq)]
enum Round {
    /// There may be more at once.
    News,
    /// Nothing came of it.
    Nothing,
    /// The guard is gone.
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
                        // An issuer that answers at once where it should wait is not asked again and again.
                        sleep_until(began_at + SHORT_PAUSE).await;
                    }
                }
                Err(error) => {
                    if !self.failing {
                        tracing::warn!(issuer = self.issuer, %error, "cannot follow the revocations of the issuer");
                    }
                    self.set_failing(true);
                    // It may have moved.
                    self.endpoint = None;
                    sleep(pause).await;
                    pause = LONG_PAUSE.min(pause * 2);
                }
            }
        }
    }

    /// Asks for a page and does what it says.
    async fn round(&mut self) -> Result<Round, FetchError> {
        // While it is not known whether anything is missing, an answer must not be long in coming.
        let wait = if self.failing || self.from_the_oldest.is_some() { 0 } else { self.wait };
        let Some(page) = self.page(wait).await? else {
            tracing::info!(issuer = self.issuer, "the issuer's revocations are read from the oldest again");
            self.after = None;
            self.from_the_oldest = Some(Vec::new());
            return Ok(Round::Nothing);
        };
        let Some(guard) = self.guard.upgrade() else { return Ok(Round::Over) };
        let is_idle = page.items.is_empty() && wait > 0;
        self.take(&guard, page.items, page.is_full);
        self.after = Some(page.next);
        drop(guard);
        if let Some(keys) = page.keys.filter(|_| !page.is_full) {
            self.see_keys(keys).await?;
        }
        Ok(if is_idle { Round::Nothing } else { Round::News })
    }

    /// The next page; none: the issuer does not know where the last one ended.
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

    /// Tells the guard. From the oldest on, only what is whole can take the place of what is known.
    fn take(&mut self, guard: &Guard, items: Vec<Revocation>, has_more: bool) {
        match (&mut self.from_the_oldest, has_more) {
            (Some(read), true) => read.extend(items),
            (Some(read), false) => {
                read.extend(items);
                guard.hear_revocations(std::mem::take(read), true);
                self.from_the_oldest = None;
                set(guard, |state| state.heard = true);
            }
            (None, true) => guard.learn_revocations(items),
            (None, false) => guard.hear_revocations(items, false),
        }
    }

    /// Fetches the keys if they are others than the last time. The first time too: they may have been fetched before, and
    /// changed since.
    async fn see_keys(&mut self, keys: HeaderValue) -> Result<(), FetchError> {
        if self.keys.as_ref() == Some(&keys) {
            return Ok(());
        }
        sleep_until(self.next_fetch).await;
        let Some(guard) = self.guard.upgrade() else { return Ok(()) };
        self.next_fetch = Instant::now() + SHORT_PAUSE;
        let Some(source) = guard.source() else { return Ok(()) };
        if !source.fetch_anew(&guard).await {
            return Err(FetchError::OtherKeys);
        }
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
