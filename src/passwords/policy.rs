//! The rules for new passwords (NIST SP 800-63B-4 §3.1.1.2): no rules of composition, and no expiry.

use std::{
    collections::HashSet,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use actix_web::http::Uri;
use unicode_normalization::UnicodeNormalization as _;
use zxcvbn::{
    Entropy, Match, Score,
    matching::patterns::{DictionaryPattern, MatchPattern},
    zxcvbn,
};

use super::{PasswordsError, blocklist::Blocklist};
use crate::{
    config::PasswordConfig,
    error::{Code, FieldError},
    names::{DisplayName, Email, Username},
    secret::Password,
};

/// The number of characters whose strength is estimated. zxcvbn tries all substitutions (`@` for `a`), whose number grows
/// with the kinds of symbols, in time that grows with the square of the length: 100 characters can take seconds.
const RATED: usize = 24;
/// With more kinds of symbols than this, fewer characters are rated. Random ones are still of the highest strength.
const SYMBOLS: usize = 3;
const RATED_WITH_MORE_SYMBOLS: usize = 12;
/// No common password is longer, in characters.
const LONGEST_COMMON: usize = 20;
/// No common password has more kinds of symbols.
const SYMBOLS_OF_COMMON: usize = 2;

/// A new password that is long enough. [`super::Passwords::hash_new`] checks the other rules.
#[derive(Clone, Debug)]
pub struct NewPassword {
    pub(super) password: Password,
    /// The field that has the password, for errors.
    pub(super) field: &'static str,
}

/// What a user's password must not be.
#[derive(Clone, Copy, Debug)]
pub struct Personal<'a> {
    /// The user name.
    pub username: &'a Username,
    /// The e-mail address.
    pub email: Option<&'a Email>,
    /// The display name.
    pub display_name: Option<&'a DisplayName>,
}

/// Why a password is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// It breaks a rule: the code and the message of the field's error.
    Rule(Code, String),
    /// The blocklist cannot be read. A password that nothing checked could stay in use for years, and its user can try
    /// again later: it is not accepted. Logins do not read the blocklist.
    Unchecked(io::Error),
}

/// The rules in force.
#[derive(Debug)]
pub(super) struct Policy {
    min_length: usize,
    min_strength: Score,
    blocklist: Option<Blocklist>,
    /// The host of the issuer.
    host: String,
}

impl Policy {
    /// Reads the blocklist.
    pub(super) fn new(config: &PasswordConfig, issuer: &str) -> Result<Self, PasswordsError> {
        let open = |path: &PathBuf| {
            Blocklist::open(path).map_err(|error| PasswordsError::Blocklist { path: path.clone(), error })
        };
        let host = issuer.parse::<Uri>().ok().and_then(|uri| uri.host().map(folded));
        Ok(Self {
            min_length: config.min_length,
            min_strength: Score::try_from(config.min_strength).unwrap_or(Score::Four),
            blocklist: config.blocklist.as_ref().map(open).transpose()?,
            host: host.unwrap_or_default().trim_matches(['[', ']']).to_owned(),
        })
    }

    /// Accepts a new password if it is long enough.
    pub(super) fn new_password(&self, field: &'static str, text: &str) -> Result<NewPassword, FieldError> {
        let password = Password::presented(field, text)?;
        if password.as_str().chars().count() < self.min_length {
            let message = format!("must have at least {} characters", self.min_length);
            return Err(FieldError::new(field, Code::Length, message));
        }
        Ok(NewPassword { password, field })
    }

    /// Returns the words that a password must not be, in lower case.
    pub(super) fn personal(&self, of: Personal<'_>) -> Vec<String> {
        let email = of.email.map(Email::as_str);
        let local_part = email.and_then(|email| email.rsplit_once('@')).map(|(local, _)| local);
        let words = [Some(of.username.as_str()), email, local_part, of.display_name.map(DisplayName::as_str)];
        words.into_iter().flatten().map(folded).chain([self.host.clone()]).collect()
    }

    /// Checks all rules but the length. Takes some milliseconds, and reads the blocklist: only for hash threads.
    pub(super) fn check(&self, password: &str, personal: &[String]) -> Result<(), Refused> {
        let rule = |code, message: &str| Err(Refused::Rule(code, message.to_owned()));
        if personal.contains(&folded(password)) {
            return rule(Code::Personal, "must not be a name or address of yours, or of this server");
        }
        if is_common(password) {
            return rule(
                Code::Common,
                "is one of the most common passwords; choose another, such as a few uncommon words",
            );
        }
        if let Some(blocklist) = &self.blocklist
            && blocklist.contains(password).map_err(Refused::Unchecked)?
        {
            return rule(Code::Common, "is in a list of known passwords; choose another, such as a few uncommon words");
        }
        self.check_strength(password, personal)
    }

    fn check_strength(&self, password: &str, personal: &[String]) -> Result<(), Refused> {
        // Words of the user count as guessed at once.
        let personal: Vec<&str> = personal.iter().map(String::as_str).collect();
        let estimate = estimate(rated(password), &personal);
        // A password that cannot be rated counts as weak.
        let strength = estimate.as_ref().map_or(Score::Zero, Entropy::score);
        if strength >= self.min_strength {
            return Ok(());
        }
        let advice = estimate.as_ref().and_then(Entropy::feedback).map(ToString::to_string);
        let advice = advice.filter(|advice| !advice.is_empty());
        let advice = advice.unwrap_or_else(|| "Add another word or two. Uncommon words are better.".to_owned());
        let least = self.min_strength;
        let message =
            format!("is easy to guess: its strength is {strength} of 4, and must be at least {least}. {advice}");
        Err(Refused::Rule(Code::Weak, message))
    }
}

/// Estimates the strength of a text. `None`: zxcvbn panics, which it does for some texts, such as long runs on a keypad in
/// builds with overflow checks.
fn estimate(text: &str, known: &[&str]) -> Option<Entropy> {
    catch_unwind(AssertUnwindSafe(|| zxcvbn(text, known))).ok()
}

/// Returns the part of a password whose strength is estimated.
fn rated(password: &str) -> &str {
    let longest = first(password, RATED);
    if symbols(longest) > SYMBOLS { first(password, RATED_WITH_MORE_SYMBOLS) } else { longest }
}

/// Returns the first characters of a text.
fn first(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

/// Returns the number of kinds of symbols in a text.
fn symbols(text: &str) -> usize {
    text.chars().filter(char::is_ascii_punctuation).collect::<HashSet<_>>().len()
}

/// Returns a text as it is compared: without regard to case and to the encoding of characters.
fn folded(text: &str) -> String {
    text.to_lowercase().nfc().collect()
}

/// Returns whether a password is in zxcvbn's list of common ones, without regard to case.
///
/// The crate does not publish its list. It returns the cheapest way to guess a text, which often is another one than the
/// list: it guesses `passw0rd`, which is listed, as `password` with a substitution. The text here is made so that the
/// list alone can explain all of the password:
///
/// - zxcvbn searches words in the text in lower case, where `İ` becomes two characters. Listed words after it, seen in
///   reading direction from the end of the text, are found one place off, where no pattern and no substitution fits.
/// - The rest of the text is a word that is given as known. What needs more than these two parts costs more guesses.
///
/// Of listed ones with only four characters it misses the rarest: trying all of that length costs fewer guesses.
fn is_common(password: &str) -> bool {
    const SEPARATOR: &str = "\u{a7}\u{b6}\u{ab}\u{bf}\u{b1}";
    let lower = password.to_lowercase();
    let listable = lower.is_ascii() && lower.len() <= LONGEST_COMMON && symbols(&lower) <= SYMBOLS_OF_COMMON;
    let Some(first) = lower.chars().next().filter(|_| listable) else { return false };
    let reversed: String = lower.chars().rev().collect();
    let estimate = estimate(&format!("\u{a4}{reversed}{SEPARATOR}\u{130}"), &[&format!("{first}{SEPARATOR}i")]);
    let Some(estimate) = estimate else { return false };
    let [Match { pattern: MatchPattern::Dictionary(found), .. }, _] = estimate.sequence() else { return false };
    // The type of the name is private; its default is the list of passwords.
    found.matched_word == lower && found.dictionary_name == DictionaryPattern::default().dictionary_name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(min_strength: u8) -> Policy {
        Policy::new(&PasswordConfig { min_length: 8, min_strength, blocklist: None }, "https://id.example:8443/x")
            .unwrap()
    }

    fn code(policy: &Policy, password: &str) -> Option<Code> {
        let (username, email) = ("mary".parse().unwrap(), "mary.jones@example.com".parse().unwrap());
        let display_name = "M\u{c1}RIA Jones".parse().unwrap();
        let of = Personal { username: &username, email: Some(&email), display_name: Some(&display_name) };
        match policy.check(password, &policy.personal(of)) {
            Ok(()) => None,
            Err(Refused::Rule(code, _)) => Some(code),
            Err(Refused::Unchecked(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn names_of_the_user_and_the_server_are_personal() {
        for personal in
            ["Mary", "MARY.JONES@example.com", "mary.Jones", "m\u{e1}ria jones", "ma\u{301}ria JONES", "ID.example"]
        {
            let password: String = personal.nfc().collect();
            assert_eq!(code(&policy(0), &password), Some(Code::Personal), "{personal}");
        }
        assert_eq!(code(&policy(0), "mary.jones@example.co"), None);
    }

    /// Listed ones that zxcvbn explains by something cheaper, too: a substitution, a word backwards, a repetition, two
    /// words, a sequence.
    #[test]
    fn listed_passwords_are_common_at_each_strength() {
        let listed = [
            "password",
            "12345678",
            "trustno1",
            "iloveyou",
            "passw0rd",
            "p@ssw0rd",
            "pa55w0rd",
            "michael3",
            "drowssap",
            "nilknarf",
            "gfhjkmgfhjkm",
            "mashamasha",
            "patrick9",
            "1william",
            "iloveyou!",
            "123456789g",
            "qwertyuiop",
            "11111111",
            "Passw0rd",
            "DROWSSAP",
            "heathers",
            "pic's",
            "q1w2e3r4t5y6u7i8o9p0",
            "12345678900987654321",
            "[start]",
            "%e2%82%ac",
        ];
        for password in listed {
            assert_eq!(code(&policy(0), password), Some(Code::Common), "{password}");
        }
    }

    #[test]
    fn others_are_not_common_but_may_be_weak() {
        let others =
            ["p@$$w0rd", "0rdpassw", "password12345678", "rdpasswo", "elephantine", "zzzzzzzzzzzz", "p\u{e4}ssword"];
        for password in others {
            assert_eq!(code(&policy(0), password), None, "{password}");
        }
        for password in ["p@$$w0rd", "zzzzzzzzzzzz", "mary1234"] {
            assert_eq!(code(&policy(2), password), Some(Code::Weak), "{password}");
        }
        assert_eq!(code(&policy(4), "correct horse battery staple"), None);
    }

    /// zxcvbn overflows in the estimate of long runs on a keypad.
    #[test]
    fn a_password_that_cannot_be_rated_is_weak() {
        let run = "20120101".repeat(4);
        assert_eq!(estimate(&run, &[]).is_none(), cfg!(debug_assertions));
        for password in [run.clone(), run.repeat(4), "7894561230".repeat(5), "2012-01-01".repeat(4)] {
            let verdict = code(&policy(2), &password);
            assert!(matches!(verdict, None | Some(Code::Weak)), "{password}: {verdict:?}");
        }
        assert_eq!(code(&policy(4), &run), Some(Code::Weak));
    }

    #[test]
    fn fewer_characters_are_rated_if_there_are_many_symbols() {
        assert_eq!(rated("correct-horse-battery-staple!"), "correct-horse-battery-st");
        assert_eq!(rated("\u{e4}@$|!\u{f6}\u{fc}klmnopqrst"), "\u{e4}@$|!\u{f6}\u{fc}klmno");
        for strong in ["4@8({[<369!1|70$5+%2", "tR7$k!9@xQ(2vB|m", "!x@9#k$R%q^z&w*T"] {
            assert_eq!(code(&policy(4), strong), None, "{strong}");
        }
    }

    /// Run it with `--ignored --nocapture`.
    #[test]
    #[ignore = "prints durations"]
    fn durations_of_checks() {
        let (policy, timed) = (policy(2), |work: &dyn Fn()| {
            let begun = std::time::Instant::now();
            work();
            begun.elapsed()
        });
        // The dictionaries are read once.
        code(&policy, "correct horse battery staple");
        for kinds in
            ["4@({[<691!|7$5+%0328", "1!|7@4$5+69(", "1!|7+%", "1|7!4@6950328", "1|7$4@6950328", "4691750328", "abc1|7"]
        {
            let password: String = kinds.chars().cycle().take(32).collect();
            let short: String = password.chars().take(20).collect();
            let (check, short) = (timed(&|| _ = code(&policy, &password)), timed(&|| _ = code(&policy, &short)));
            let all = timed(&|| _ = estimate(&password, &[]));
            println!("{kinds}: 32 characters {check:?}, 20 characters {short:?}; all 32 rated {all:?}");
        }
    }

    proptest! {
        /// A panic would be an internal error.
        #[test]
        fn any_password_gets_a_verdict(
            password in "\\PC{1,120}",
            leet in "[a-z0-9\u{130}@$!|1470 ]{1,40}",
            digits in "[0-9]{1,40}",
            keypad in "([147]{1,3}[258*/]{1,3}[369.+-]{1,3}){1,8}",
            date in "(19|20)[0-9]{2}[-/. ]?[01][0-9][-/. ]?[0-3][0-9]",
            times in 1_usize..8,
        ) {
            for password in [password, leet, digits, keypad, date.repeat(times)] {
                code(&policy(2), &password);
            }
        }
    }
}
