//! Response times of refused logins, by kind of user. A difference would tell a stranger which usernames exist, or where they came
//! from.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Outcome, latency,
    load::{self, Connection},
    servers::USERNAME,
};

/// A kind of refused logins.
pub(crate) struct Kind {
    pub(crate) what: &'static str,
    username: &'static str,
    /// Whether it must take as long as the login of an unknown user. A hash of another system that costs more than Argon2id
    /// takes longer.
    pub(crate) is_equal: bool,
}

/// All kinds. The first one is what the others are compared with.
pub(crate) const KINDS: [Kind; 4] = [
    Kind { what: "an unknown user", username: "nobody", is_equal: true },
    Kind { what: "a wrong password", username: USERNAME, is_equal: true },
    Kind { what: "a wrong password, imported bcrypt", username: "from-bcrypt", is_equal: false },
    Kind { what: "a wrong password, imported PBKDF2", username: "from-pbkdf2", is_equal: false },
];

/// The imported users: bcrypt with the cost 10 of many frameworks, and PBKDF2 with the rounds of Django 5.2.
pub(crate) const IMPORTED: &str = r#"{"username": "from-bcrypt", "password_hash": "$2b$10$DSanBtXLkDogAJ9tbSqPJ.LUUWxUkf7G5EW6Rq2fRZugQGYqJNCpS"}
{"username": "from-pbkdf2", "password_hash": "pbkdf2_sha256$1000000$Xq3sEasalt$zbClmnLClYlC0PGfXYUr4U0tUIgUHKNTtHoATTF1CSQ="}
"#;

/// The usual threshold of leakage tests (TVLA): identical distributions exceed it once in 100,000 runs.
pub(crate) const LEAK: f64 = 4.5;

/// Returns the response times of this many refused logins of each kind, one request at a time.
pub(crate) fn refused_logins(address: SocketAddr, rounds: usize) -> Outcome<[Vec<Duration>; KINDS.len()]> {
    let requests = KINDS.map(|kind| load::login(kind.username, "a-wrong-password"));
    let mut connection = Connection::open(address)?;
    let mut times = [const { Vec::new() }; KINDS.len()];
    let mut order: Vec<usize> = (0..KINDS.len()).collect();
    for round in 0..=rounds {
        // In another order each time: a request must not always follow the same other one.
        order.rotate_left(1);
        if round % KINDS.len() == 0 {
            order.reverse();
        }
        for &kind in &order {
            let took = latency::of_one(&mut connection, &requests[kind], 400)?;
            // The first round warms up.
            if round > 0 {
                times[kind].push(took);
            }
        }
    }
    Ok(times)
}

/// Returns by how many standard errors the means of two samples differ (Welch's t).
pub(crate) fn difference(one: &[f64], other: &[f64]) -> Outcome<f64> {
    let ((mean, error), (other_mean, other_error)) = (mean(one)?, mean(other)?);
    Ok((mean - other_mean) / (error + other_error).sqrt())
}

/// Returns the mean of a sample, and the square of its standard error.
fn mean(sample: &[f64]) -> Outcome<(f64, f64)> {
    let count = f64::from(u32::try_from(sample.len())?);
    let mean = sample.iter().sum::<f64>() / count;
    let variance = sample.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Ok((mean, variance / count))
}
