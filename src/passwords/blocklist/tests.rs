use std::{collections::BTreeSet, fmt::Write as _, io::Write as _};

use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::*;

fn file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn open(content: &[u8]) -> io::Result<Blocklist> {
    Blocklist::open(file(content).path())
}

#[track_caller]
fn refused(list: &Blocklist, password: &str) -> bool {
    list.contains(password).unwrap()
}

fn hex(digest: &Digest) -> String {
    digest.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02X}"))
}

/// A SHA-1 file of these passwords, with counts.
fn digests(passwords: &[&str], line_end: &str) -> String {
    let sorted: BTreeSet<Digest> = passwords.iter().map(|password| sha1(password)).collect();
    let line =
        |(nth, digest): (usize, &Digest)| format!("{}:{}", hex(digest), 7_usize.pow(u32::try_from(nth % 9).unwrap()));
    sorted.iter().enumerate().map(line).collect::<Vec<_>>().join(line_end)
}

const PASSWORDS: [&str; 5] = ["first of them", "Second Of Them", "third of them", "fourth of them", "fifth of them"];

#[test]
fn words_are_compared_without_regard_to_case() {
    for line_end in ["\n", "\r\n"] {
        for last in ["", line_end, "\n\n"] {
            let list = open(format!("zebra{line_end}{line_end}Na\u{ef}ve aardvark {last}").as_bytes()).unwrap();
            let Blocklist::Words(words) = &list else { panic!("{list:?}") };
            assert_eq!(words.hashes.len(), 2);
            assert!(refused(&list, "ZEBRA") && refused(&list, "zebra"));
            // Composed, as passwords are; nothing but the line end is trimmed.
            assert!(refused(&list, "na\u{ef}ve Aardvark ") && !refused(&list, "na\u{ef}ve aardvark"));
            assert!(!refused(&list, "zebra zebra") && !refused(&list, "\r") && !refused(&list, ""));
        }
    }
    let decomposed = open("\u{feff}nai\u{308}ve\n\u{ff}\n".as_bytes()).unwrap();
    assert!(refused(&decomposed, "NA\u{cf}VE"));
    assert!(!refused(&open(b"").unwrap(), "anything"));
    assert!(refused(&open(b"\xff\xfe\nlatin\n").unwrap(), "latin"));
}

#[test]
fn almost_a_digest_is_a_word() {
    let digits = hex(&sha1("x"));
    for word in
        [&digits[1..], &format!("{digits}0"), &format!("{digits}:"), &format!("{digits}:1x"), &format!(" {digits}")]
    {
        let list = open(word.as_bytes()).unwrap();
        assert!(matches!(list, Blocklist::Words(_)) && refused(&list, word), "{word}");
    }
}

#[test]
fn digests_are_looked_up_as_the_password_is_and_in_lower_case() {
    for line_end in ["\n", "\r\n"] {
        for last in ["", line_end, "\n\n"] {
            let text = digests(&PASSWORDS, line_end) + last;
            for text in [text.clone(), text.to_lowercase()] {
                let list = open(text.as_bytes()).unwrap();
                assert!(matches!(list, Blocklist::Digests(_)));
                assert!(PASSWORDS.iter().all(|password| refused(&list, password)), "{text:?}");
                assert!(refused(&list, "FIRST OF THEM") && !refused(&list, "second of them"));
                assert!(!refused(&list, "sixth of them") && !refused(&list, ""));
            }
        }
    }
    let one = open(hex(&sha1("only one")).as_bytes()).unwrap();
    assert!(refused(&one, "only one") && !refused(&one, "another"));
}

#[test]
fn a_file_in_another_order_is_refused() {
    let reversed = digests(&PASSWORDS, "\n").lines().rev().collect::<Vec<_>>().join("\n");
    assert!(open(reversed.as_bytes()).unwrap_err().to_string().contains("not ordered by hash"));
}

#[test]
fn what_is_no_digest_is_an_error_when_it_is_found() {
    let mut text = digests(&PASSWORDS, "\n");
    text.insert_str(0, "0000000000000000000000000000000000000001\nno digest\n");
    assert!(open(text.as_bytes()).unwrap_err().to_string().contains("without a SHA-1 digest"));
    let long = format!("{}\n{}\n", hex(&[0; 20]), "9".repeat(500));
    assert!(open(long.as_bytes()).unwrap_err().to_string().contains("too long"));
}

#[test]
fn a_file_that_cannot_be_used_is_an_error() {
    assert_eq!(Blocklist::open(Path::new("/none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(Blocklist::open(Path::new("/dev/zero")).unwrap_err().to_string().contains("regular file"));
    let file = file(digests(&PASSWORDS, "\n").as_bytes());
    let list = Blocklist::open(file.path()).unwrap();
    file.as_file().set_len(10).unwrap();
    assert!(PASSWORDS.iter().any(|password| list.contains(password).is_err()), "the file was cut while it was open");
}

proptest! {
    /// Against a set; digests that differ little, lines of all lengths.
    #[test]
    fn bisection_finds_what_is_there(
        digests in prop::collection::btree_map((0_u8..4, 0_u8..4, any::<u8>()), (any::<Option<u64>>(), any::<bool>()), 1..60),
        others in prop::collection::vec((0_u8..5, 0_u8..5, any::<u8>()), 20),
    ) {
        let digest = |(first, second, last): (u8, u8, u8)| {
            let mut digest = [0; 20];
            (digest[0], digest[1], digest[19]) = (first, second, last);
            digest
        };
        let mut text = String::new();
        for (at, (count, crlf)) in &digests {
            let count = count.map(|count| format!(":{count}")).unwrap_or_default();
            write!(text, "{}{count}{}", hex(&digest(*at)), if *crlf { "\r\n" } else { "\n" }).unwrap();
        }
        let Blocklist::Digests(list) = open(text.as_bytes()).unwrap() else { panic!("{text}") };
        for at in digests.keys().chain(&others) {
            prop_assert_eq!(list.contains(&digest(*at)).unwrap(), digests.contains_key(at), "{:?} in {}", at, text);
        }
    }

    #[test]
    fn any_file_opens_or_does_not(content in prop::collection::vec(any::<u8>(), 0..300), head in any::<bool>(), password in ".*") {
        let head = if head { b"0123456789abcdef0123456789abcdef01234567\n".as_slice() } else { b"" };
        if let Ok(list) = open(&[head, &content].concat()) {
            let _ = list.contains(&password);
        }
    }
}
