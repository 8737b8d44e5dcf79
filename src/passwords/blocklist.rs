//! The operator's file of refused passwords: words in memory, or SHA-1 digests on disk.

use std::{
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io::{self, BufReader, Seek as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use unicode_normalization::UnicodeNormalization as _;

/// The maximum size of a file of words, in bytes. Each word costs 8 bytes of memory.
const MAX_WORDS_FILE: u64 = 256 << 20;
/// More than two lines of a SHA-1 file: 40 digits, a colon, a count of up to 20 digits and a line end.
const CHUNK: usize = 128;
/// The number of lines of a SHA-1 file whose order is checked at the start.
const SAMPLES: u64 = 256;

type Digest = [u8; 20];

/// The refused passwords of a file.
#[derive(Debug)]
pub(super) enum Blocklist {
    Words(Words),
    Digests(Digests),
}

impl Blocklist {
    /// Opens a file. Its first line tells which of the two forms it has.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(invalid("is not a regular file"));
        }
        let mut head = [0; CHUNK];
        let length = read_up_to(&file, &mut head, 0)?;
        let first = head[..length].split(|byte| *byte == b'\n').next().unwrap_or_default();
        if parse(first).is_some() {
            return Digests::open(file).map(Self::Digests);
        }
        if metadata.len() > MAX_WORDS_FILE {
            return Err(invalid(
                "has more than 256 MiB of words; use SHA-1 digests ordered by hash, which stay on disk",
            ));
        }
        file.rewind()?;
        Words::read(BufReader::new(file)).map(Self::Words)
    }

    /// Returns whether a password in NFC is refused.
    pub(super) fn contains(&self, password: &str) -> io::Result<bool> {
        let lower = password.to_lowercase();
        match self {
            Self::Words(words) => Ok(words.contains(&lower)),
            Self::Digests(digests) => {
                Ok(digests.contains(&sha1(password))? || (lower != password && digests.contains(&sha1(&lower))?))
            }
        }
    }
}

/// A list of words, compared without regard to case: the sorted hashes, under a random key, of the words in lower case.
#[derive(Debug)]
pub(super) struct Words {
    hashes: Vec<u64>,
    key: RandomState,
}

impl Words {
    /// Reads one word a line. Lines that are empty or not UTF-8 are no passwords, and are skipped.
    fn read(mut reader: impl io::BufRead) -> io::Result<Self> {
        let (mut hashes, mut line, key) = (Vec::new(), Vec::new(), RandomState::new());
        while reader.read_until(b'\n', &mut line)? > 0 {
            let word = std::str::from_utf8(without_line_end(&line)).unwrap_or_default();
            let word: String = word.trim_start_matches('\u{feff}').nfc().collect();
            if !word.is_empty() {
                hashes.push(key.hash_one(word.to_lowercase()));
            }
            line.clear();
        }
        hashes.sort_unstable();
        hashes.dedup();
        hashes.shrink_to_fit();
        Ok(Self { hashes, key })
    }

    fn contains(&self, lower: &str) -> bool {
        self.hashes.binary_search(&self.key.hash_one(lower)).is_ok()
    }
}

/// A file of SHA-1 digests in ascending order, each with or without a count, as Have I Been Pwned publishes it. The file
/// stays open and is searched on disk, since it may be larger than the memory.
#[derive(Debug)]
pub(super) struct Digests {
    file: File,
    /// The end of the last line.
    size: u64,
}

/// A line of a SHA-1 file.
struct Line {
    digest: Digest,
    /// The offset of the next line.
    end: u64,
}

impl Digests {
    fn open(file: File) -> io::Result<Self> {
        let mut this = Self { size: file.metadata()?.len(), file };
        this.trim_end()?;
        // A file that is ordered otherwise, as by count, would be searched in vain. Not all lines are read, since there
        // may be a billion.
        let mut before = Digest::default();
        for sample in 0..SAMPLES {
            let Some(line) = this.line_from(this.size * sample / SAMPLES)? else { break };
            if line.digest < before {
                return Err(invalid("is not ordered by hash: `LC_ALL=C sort` orders it"));
            }
            before = line.digest;
        }
        Ok(this)
    }

    /// Leaves empty lines at the end out of the search.
    fn trim_end(&mut self) -> io::Result<()> {
        let mut tail = [0; CHUNK];
        let start = self.size.saturating_sub(CHUNK as u64);
        let length = read_up_to(&self.file, &mut tail, start)?;
        self.size = start + tail[..length].trim_ascii_end().len() as u64;
        Ok(())
    }

    /// Searches by bisection of byte offsets.
    fn contains(&self, digest: &Digest) -> io::Result<bool> {
        // If the digest is in the file, its line begins at `low` or later, and before `high`.
        let (mut low, mut high) = (0, self.size);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.line_from(middle)? {
                Some(line) if line.digest == *digest => return Ok(true),
                Some(line) if line.digest < *digest => low = line.end,
                // No line begins between `middle` and this one.
                Some(_) | None => high = middle,
            }
        }
        Ok(false)
    }

    /// Returns the first line that begins at this offset or later.
    fn line_from(&self, offset: u64) -> io::Result<Option<Line>> {
        let mut chunk = [0; CHUNK];
        // With the byte before it, which may be the end of another line.
        let from = offset.saturating_sub(1);
        let length = usize::try_from(self.size.saturating_sub(from)).map_or(CHUNK, |rest| rest.min(CHUNK));
        let chunk = &mut chunk[..length];
        self.file.read_exact_at(chunk, from)?;
        let line_end = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let begin = if offset == 0 { Some(0) } else { line_end(chunk) };
        let at_end = from + length as u64 == self.size;
        let Some(begin) = begin.filter(|begin| *begin < length) else {
            return if at_end { Ok(None) } else { Err(invalid("has a line that is too long")) };
        };
        let rest = &chunk[begin..];
        let end = match line_end(rest) {
            Some(end) => end,
            None if at_end => rest.len(),
            None => return Err(invalid("has a line that is too long")),
        };
        let digest = parse(&rest[..end]).ok_or_else(|| invalid("has a line without a SHA-1 digest"))?;
        Ok(Some(Line { digest, end: from + (begin + end) as u64 }))
    }
}

fn sha1(text: &str) -> Digest {
    let mut hash = Digest::default();
    // Not for security: SHA-1 is what the file has.
    hash.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref());
    hash
}

/// Parses 40 hexadecimal digits, maybe followed by a colon and a count.
fn parse(line: &[u8]) -> Option<Digest> {
    let (digits, count) = without_line_end(line).split_at_checked(40)?;
    let counted =
        count.strip_prefix(b":").is_some_and(|count| !count.is_empty() && count.iter().all(u8::is_ascii_digit));
    if !count.is_empty() && !counted {
        return None;
    }
    let mut digest = Digest::default();
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(digest)
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Reads as many bytes as there are, up to the length of the buffer.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let length = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    let length = length.min(buffer.len());
    file.read_exact_at(&mut buffer[..length], offset)?;
    Ok(length)
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests;
