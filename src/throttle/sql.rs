//! Statements on budgets. Each changes all rows of an attempt at once, so that of many attempts, on any server, exactly
//! those that are free pass.

/// Whether a budget allows an attempt at `$5`. `$3`: the budget of the network; free failures and window of it are `$10`
/// and `$11`, those of the others `$8` and `$9`. After the free ones, each failure doubles the wait, from one second to
/// 5 minutes for a network and 15 minutes for others.
macro_rules! is_free {
    ($row:literal) => {
        concat!(
            "(",
            $row,
            ".failures < CASE WHEN ",
            $row,
            ".budget = $3 THEN $10 ELSE $8 END OR ",
            $row,
            ".failed_at <= $5 - CASE WHEN ",
            $row,
            ".budget = $3 THEN $11 ELSE $9 END OR ",
            $row,
            ".failed_at <= $5 - CASE WHEN ",
            $row,
            ".budget = $3 THEN CASE WHEN ",
            $row,
            ".failures - $10 >= 9 THEN 300000000 \
             ELSE CAST(1000000 AS BIGINT) << CAST(",
            $row,
            ".failures - $10 AS INTEGER) END ELSE CASE WHEN ",
            $row,
            ".failures - $8 >= 10 THEN 900000000 \
             ELSE CAST(1000000 AS BIGINT) << CAST(",
            $row,
            ".failures - $8 AS INTEGER) END END)"
        )
    };
}

/// The longest waits, in seconds, as above.
pub(super) const MAX_WAIT: u64 = 900;
pub(super) const MAX_NETWORK_WAIT: u64 = 300;

/// Reserves an attempt: of the device or known pair (`$1`), else of the account (`$2`) and the network (`$3`), both or
/// none. No row: it is refused. `$4`: the user; `$6`: `$1` is a device; `$7`: a pair counts as known after this.
///
/// One row for account and network: another server used the other up meanwhile, and this one must be given back.
// The account's row is locked before the network's by every statement, so that they do not deadlock.
pub(super) const RESERVE: &str = concat!(
    "INSERT INTO throttle (budget, user_id, failures, failed_at, previous_at) \
     SELECT attempt.budget, attempt.user_id, 1, $5, 0 FROM (\
     SELECT 1 AS place, $1 AS budget, $4 AS user_id UNION ALL SELECT 2, $2, $4 UNION ALL SELECT 3, $3, NULL) AS attempt \
     WHERE CASE WHEN $6 OR EXISTS (SELECT 1 FROM throttle AS pair WHERE pair.budget = $1 AND pair.known_at > $7) \
     THEN attempt.place = 1 \
     ELSE attempt.place > 1 AND NOT EXISTS (SELECT 1 FROM throttle AS other WHERE other.budget IN ($2, $3) AND NOT ",
    is_free!("other"),
    ") END ORDER BY attempt.place \
     ON CONFLICT (budget) DO UPDATE SET \
     failures = CASE WHEN throttle.failed_at <= $5 - CASE WHEN throttle.budget = $3 THEN $11 ELSE $9 END \
     THEN 1 ELSE throttle.failures + 1 END, previous_at = throttle.failed_at, failed_at = $5 WHERE ",
    is_free!("throttle"),
    " RETURNING budget"
);

/// Gives an attempt at `$3` back. The last failure is then the one before, unless there was another one meanwhile.
pub(super) const GIVE_BACK: &str = "UPDATE throttle SET failures = failures - 1, \
     failed_at = CASE WHEN failed_at = $3 THEN previous_at ELSE failed_at END \
     WHERE budget IN ($1, $2) AND failures > 0";

/// Gives an attempt at `$6` back that succeeded at `$5`: of the account (`$2`) and network (`$3`), or of the pair (`$1`) or
/// device (`$7`), which are cleared. NULL: not charged. The pair is known from then on. `$4`: the user.
// The time of a known pair is written once a day: a row whose indexed columns stay the same is cheap to update.
pub(super) const SUCCEED: &str = "INSERT INTO throttle (budget, user_id, failures, failed_at, previous_at, known_at) \
     SELECT done.budget, done.user_id, 0, 0, 0, done.known_at FROM (\
     SELECT 1 AS place, $1 AS budget, $4 AS user_id, $5 AS known_at UNION ALL SELECT 2, $2, $4, NULL \
     UNION ALL SELECT 3, $3, NULL, NULL UNION ALL SELECT 4, $7, $4, NULL) AS done \
     WHERE done.budget IS NOT NULL ORDER BY done.place \
     ON CONFLICT (budget) DO UPDATE SET \
     failures = CASE WHEN throttle.budget = $1 OR throttle.budget = $7 THEN 0 \
     WHEN throttle.failures > 0 THEN throttle.failures - 1 ELSE 0 END, \
     failed_at = CASE WHEN throttle.failed_at = $6 THEN throttle.previous_at ELSE throttle.failed_at END, \
     known_at = CASE WHEN throttle.budget <> $1 OR throttle.known_at > $5 - 86400000000 THEN throttle.known_at \
     ELSE $5 END";

/// Reads the budgets of a refused attempt.
pub(super) const READ: &str = "SELECT budget, failures, failed_at, known_at FROM throttle WHERE budget IN ($1, $2, $3)";

/// Clears the budgets of a user (`$1`), and the one of the account (`$2`).
pub(super) const UNLOCK: &str =
    "UPDATE throttle SET failures = 0, failed_at = 0, previous_at = 0 WHERE user_id = $1 OR budget = $2";

/// Deletes the oldest `$2` budgets without a failure since `$1`, and those with the same time as the last.
pub(super) const DELETE_OLD: &str = "DELETE FROM throttle WHERE known_at IS NULL AND failed_at <= \
     (SELECT max(failed_at) FROM (SELECT failed_at FROM throttle WHERE known_at IS NULL AND failed_at < $1 \
     ORDER BY failed_at LIMIT $2) AS oldest)";
/// Deletes the `$2` networks that were last known before `$1`, and those with the same time as the last.
pub(super) const DELETE_UNKNOWN: &str = "DELETE FROM throttle WHERE known_at IS NOT NULL AND known_at <= \
     (SELECT max(known_at) FROM (SELECT known_at FROM throttle WHERE known_at IS NOT NULL AND known_at < $1 \
     ORDER BY known_at LIMIT $2) AS oldest)";
/// Counts the budgets without known networks, up to `$1`.
pub(super) const COUNT: &str =
    "SELECT count(*) FROM (SELECT 1 AS one FROM throttle WHERE known_at IS NULL LIMIT $1) AS counted";

crate::store::hot! { RESERVE, GIVE_BACK, SUCCEED, READ, UNLOCK, DELETE_OLD, DELETE_UNKNOWN }

/// A budget of a refused attempt.
#[derive(sqlx::FromRow)]
pub(super) struct BudgetRow {
    pub(super) budget: Vec<u8>,
    pub(super) failures: i64,
    pub(super) failed_at: i64,
    pub(super) known_at: Option<i64>,
}
