//! Quotas that are used up and refilled, by example and compared with a simple model.

use std::{sync::Arc, thread, time::Duration};

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;

const NETWORK: Network = Network::V4(1);

fn table(count: u32, seconds: u64) -> NetworkQuota {
    NetworkQuota::new(Quota { count, window: Duration::from_secs(seconds) })
}

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_769_860_800_000 + millis).unwrap()
}

/// Takes until a request is refused, and returns how many were admitted.
fn take_all(table: &NetworkQuota, network: Network, now: DateTime<Utc>) -> u32 {
    let mut admitted = 0;
    while table.take(network, now).admitted {
        admitted += 1;
    }
    admitted
}

/// Returns how many requests would be admitted at a time, and changes nothing.
fn left(table: &NetworkQuota, now: DateTime<Utc>) -> u32 {
    let number = &table.whole_at[table.places.of(NETWORK)];
    let before = number.load(Ordering::Relaxed);
    let left = take_all(table, NETWORK, now);
    number.store(before, Ordering::Relaxed);
    left
}

/// Returns a network that does not share the place of [`NETWORK`].
fn another(table: &NetworkQuota) -> Network {
    let of = |number| table.places.of(Network::V4(number));
    Network::V4((2..1000).find(|number| of(*number) != of(1)).unwrap())
}

#[test]
fn a_quota_is_used_up_and_refilled_evenly() {
    let table = table(5, 10);
    let fields = |now| {
        let Allowance { admitted, remaining, seconds } = table.take(NETWORK, at(now));
        (admitted, remaining, seconds)
    };
    assert_eq!([fields(0), fields(0), fields(0)], [(true, 4, 2), (true, 3, 2), (true, 2, 2)]);
    // A second later, half of the next one is there.
    assert_eq!([fields(1000), fields(1000), fields(1000)], [(true, 1, 1), (true, 0, 1), (false, 0, 1)]);
    assert_eq!([fields(1999), fields(2000), fields(2000)], [(false, 0, 1), (true, 0, 2), (false, 0, 2)]);
    // Refused requests delay nothing.
    assert_eq!([fields(4000), fields(4001)], [(true, 0, 2), (false, 0, 2)]);
    // Whole again, and not more than that.
    assert_eq!(fields(1_000_000), (true, 4, 2));
}

#[test]
fn the_default_quota() {
    let table = table(500, 1);
    assert_eq!(table.take(NETWORK, at(0)), Allowance { admitted: true, remaining: 499, seconds: 1 });
    assert_eq!(take_all(&table, NETWORK, at(0)), 499);
    assert_eq!(table.take(NETWORK, at(0)), Allowance { admitted: false, remaining: 0, seconds: 1 });
    // 500 a second, and half of it in half a second.
    assert_eq!(take_all(&table, NETWORK, at(500)), 250);
    assert_eq!(take_all(&table, NETWORK, at(1500)), 500);
}

#[test]
fn extreme_quotas() {
    let largest = table(1_000_000_000, 1);
    assert_eq!(largest.take(NETWORK, at(0)), Allowance { admitted: true, remaining: 999_999_999, seconds: 1 });
    let century = 100 * 365 * 24 * 3600;
    let longest = table(1, century);
    assert_eq!(longest.take(NETWORK, at(0)), Allowance { admitted: true, remaining: 0, seconds: century });
    assert!(!longest.take(NETWORK, at(0)).admitted);
    // Before 1970, and after the last time that is counted.
    assert!(table(1, 1).take(NETWORK, DateTime::<Utc>::MIN_UTC).admitted);
    assert!(table(1, 1).take(NETWORK, DateTime::<Utc>::MAX_UTC).admitted);
}

#[test]
fn networks_are_counted_apart_and_the_table_does_not_grow() {
    let table = table(2, 3600);
    assert_eq!(take_all(&table, NETWORK, at(0)), 2);
    assert_eq!(take_all(&table, another(&table), at(0)), 2);
    let size = table.whole_at.len();
    // More networks than places: many share one, and none adds one.
    for number in 0..100_000 {
        let _ = table.take(Network::V6(number), at(0));
    }
    assert_eq!((table.whole_at.len(), size), (PLACES, PLACES));
    assert!(!table.take(NETWORK, at(0)).admitted);
    // All of them have their quota again after a window.
    assert_eq!(take_all(&table, NETWORK, at(3_600_000)), 2);
}

/// The system's clock may be corrected. Without the reset, networks would be refused for as long as it was set back.
#[test]
fn a_clock_that_is_set_back_locks_nobody_out() {
    let table = table(5, 10);
    assert_eq!(take_all(&table, NETWORK, at(0)), 5);
    assert_eq!(take_all(&table, NETWORK, at(-3_600_000)), 5);
    assert_eq!(take_all(&table, NETWORK, at(-3_590_000)), 5);
    // Threads read the clock at slightly different times: that resets nothing.
    assert!(!table.take(NETWORK, at(-3_590_001)).admitted);
}

#[test]
fn threads_share_a_quota() {
    let table = Arc::new(table(1000, 3600));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let table = Arc::clone(&table);
            thread::spawn(move || (0..500).filter(|_| table.take(NETWORK, at(0)).admitted).count())
        })
        .collect();
    let admitted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(admitted, 1000);
}

/// The same rule in other words: a bucket of tokens, which time fills.
struct Model {
    interval: u64,
    whole: u64,
    /// In nanoseconds, of which a token costs an interval.
    tokens: u64,
    now: u64,
}

impl Model {
    fn take(&mut self, now: u64) -> bool {
        self.tokens = (self.tokens + now - self.now).min(self.whole);
        self.now = now;
        let admits = self.tokens >= self.interval;
        self.tokens -= if admits { self.interval } else { 0 };
        admits
    }
}

proptest! {
    #[test]
    fn as_the_model_and_with_true_fields(
        count in 1..50_u32,
        window in 1..100_u64,
        // Milliseconds between requests, often none.
        steps in prop::collection::vec(prop_oneof![3 => Just(0), 2 => 0..100_i64, 1 => 0..100_000_i64], 1..200),
    ) {
        let table = table(count, window);
        let (interval, whole) = (table.interval, table.whole);
        let nanos = |now: i64| u64::try_from(at(now).timestamp_nanos_opt().unwrap()).unwrap();
        let mut model = Model { interval, whole, tokens: whole, now: nanos(0) };
        let (mut now, mut admitted) = (0, Vec::new());
        for step in steps {
            now += step;
            let allowance = table.take(NETWORK, at(now));
            prop_assert_eq!(allowance.admitted, model.take(nanos(now)));
            if allowance.admitted {
                admitted.push(nanos(now));
            }
            // `remaining` and `seconds` are true: so many are admitted now, and one more then, and not a second earlier.
            let after = |seconds: u64| {
                let then = at(now) + TimeDelta::seconds(i64::try_from(seconds).unwrap());
                left(&table, then)
            };
            let Allowance { remaining, seconds, .. } = allowance;
            prop_assert!(allowance.admitted || remaining == 0);
            prop_assert!(seconds >= 1);
            prop_assert_eq!(after(0), remaining);
            prop_assert!(after(seconds) > remaining);
            prop_assert_eq!(after(seconds - 1), remaining);
        }
        // Between any two admissions, never more than the quota and what time has refilled: `count` at once, and `count` in each
        // window if it goes on for long.
        for (first, from) in admitted.iter().enumerate() {
            for (nth, to) in admitted[first..].iter().enumerate() {
                prop_assert!(u64::try_from(nth).unwrap() < u64::from(count) + (to - from) / interval);
            }
        }
    }
}
