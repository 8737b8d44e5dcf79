//! What is counted and traced of statements.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::StoreError;
use crate::{
    metrics::Counter,
    traces::{Statement, Traces},
};

/// Counts and traces the statements of a store.
#[derive(Debug)]
pub(super) struct Observer {
    statements: AtomicU64,
    errors: Arc<Errors>,
    traces: Traces,
    system: &'static str,
}

/// Failed statements and connections. A violated constraint is no failure of the database.
#[derive(Debug, Default)]
pub struct Errors {
    /// The database was unreachable, overloaded or read-only.
    pub unavailable: Counter,
    /// There was no connection or no result in time.
    pub timeout: Counter,
    /// The engine asked to repeat a transaction.
    pub retry: Counter,
    /// Anything else: a bug.
    pub other: Counter,
}

impl Errors {
    /// Returns the counter of an error, and its name.
    fn counter(&self, error: &StoreError) -> Option<(&Counter, &'static str)> {
        match error {
            StoreError::Constraint(_) => None,
            error if error.is_timeout() => Some((&self.timeout, "timeout")),
            StoreError::Unavailable(_) => Some((&self.unavailable, "unavailable")),
            StoreError::Repeat(_) => Some((&self.retry, "retry")),
            _ => Some((&self.other, "other")),
        }
    }
}

impl Observer {
    pub(super) fn new(system: &'static str) -> Self {
        Self { statements: AtomicU64::new(0), errors: Arc::default(), traces: Traces::default(), system }
    }

    /// Returns an observer that traces statements.
    pub(super) fn tracing(&self, traces: &Traces) -> Self {
        Self { traces: traces.clone(), ..self.aside() }
    }

    /// Returns an observer with a statement counter of its own.
    pub(super) fn aside(&self) -> Self {
        let (errors, traces) = (Arc::clone(&self.errors), self.traces.clone());
        Self { statements: AtomicU64::new(0), errors, traces, system: self.system }
    }

    pub(super) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    pub(super) fn errors(&self) -> &Errors {
        &self.errors
    }

    pub(super) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Counts a statement.
    pub(super) fn count(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts the span of a statement.
    pub(super) fn begin(&self, place: &'static str, sql: &str) -> Option<Statement> {
        self.traces.statement(self.system, place, sql)
    }

    /// Counts the error of a statement or of a connection, and ends the span of the statement.
    pub(super) fn end<T>(&self, done: &Result<T, StoreError>, span: Option<Statement>) {
        let counted = done.as_ref().err().and_then(|error| self.errors.counter(error));
        if let Some((counter, _)) = counted {
            counter.add();
        }
        if let Some(span) = span {
            // Nobody but the caller learns which constraint was violated.
            span.end(done.as_ref().err().map(|_| counted.map_or("constraint", |(_, name)| name)));
        }
    }
}
