//! Counts of requests. Each worker thread has its own, so that threads do not wait for each other's cache lines; a scrape adds
//! them. A series has a route and a method of a fixed list, so that callers cannot make new ones.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use super::{Counter, Histogram};

/// The methods that are told apart. The last one stands for all others.
pub(crate) const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER];
/// The statuses that are told apart. The last one stands for all others.
const STATUSES: [u16; 24] = [
    200, 201, 204, 206, 301, 302, 303, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 416, 422, 429, 431, 500,
    503,
];
const OTHER: &str = "other";

/// All counts of requests.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<Vec<Arc<Route>>>);

/// The requests to a route that a worker has answered.
#[derive(Debug)]
pub(crate) struct Route {
    pattern: String,
    /// Made at the first request with the method.
    methods: [OnceLock<Box<Answers>>; METHODS.len()],
}

/// The answers to requests with a method.
#[derive(Debug, Default)]
struct Answers {
    durations: Histogram,
    statuses: [Counter; STATUSES.len() + 1],
}

/// The requests to a route with a method, on all workers.
pub(crate) struct Series<'a> {
    pub(crate) route: &'a str,
    pub(crate) method: &'static str,
    answers: Vec<&'a Answers>,
}

impl Route {
    /// Returns the path, with the names of its parameters.
    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Counts an answer.
    pub(crate) fn count(&self, method: &str, status: u16, took: Duration) {
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let answers = self.methods[method].get_or_init(Box::default);
        answers.durations.observe(took);
        answers.statuses[STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len())].add();
    }
}

impl Requests {
    /// Adds a route of a worker.
    pub(crate) fn add(&self, pattern: String) -> Arc<Route> {
        let route = Arc::new(Route { pattern, methods: Default::default() });
        self.routes().push(Arc::clone(&route));
        route
    }

    /// Returns all routes of all workers.
    pub(crate) fn all(&self) -> Vec<Arc<Route>> {
        self.routes().clone()
    }

    fn routes(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Route>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the counts of all workers.
pub(crate) fn series(routes: &[Arc<Route>]) -> Vec<Series<'_>> {
    let mut all: BTreeMap<(&str, usize), Vec<&Answers>> = BTreeMap::new();
    for route in routes {
        for (method, answers) in route.methods.iter().enumerate() {
            if let Some(answers) = answers.get() {
                all.entry((&route.pattern, method)).or_default().push(answers);
            }
        }
    }
    all.into_iter().map(|((route, method), answers)| Series { route, method: METHODS[method], answers }).collect()
}

impl Series<'_> {
    /// Returns the durations of the requests.
    pub(crate) fn durations(&self) -> super::histogram::Sum {
        Histogram::sum(self.answers.iter().map(|answers| &answers.durations))
    }

    /// Returns the statuses that were answered, and how often.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (String, u64)> {
        let names = STATUSES.iter().map(ToString::to_string).chain([OTHER.to_owned()]).enumerate();
        let counted =
            names.map(|(at, name)| (name, self.answers.iter().map(|answers| answers.statuses[at].get()).sum()));
        counted.filter(|(_, count)| *count > 0)
    }
}
