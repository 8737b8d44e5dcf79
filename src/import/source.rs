//! The bytes of a file, counted and bounded.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The maximum size of one record.
pub(super) const MOST_BYTES: usize = 1 << 20;
const BUFFER: usize = 64 << 10;

/// A file to import.
pub struct Source {
    reader: Box<dyn Read + Send>,
    gauge: Arc<Gauge>,
    /// The file, if it can be read a second time.
    path: Option<PathBuf>,
    /// The size of the file, if it is known.
    pub size: Option<u64>,
}

impl Source {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::new(io::stdin()));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let is_file = metadata.is_file();
        let path = is_file.then(|| path.to_owned());
        Ok(Self { path, size: is_file.then_some(metadata.len()), ..Self::new(file) })
    }

    /// Returns a source that can be read once.
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        Self { reader: Box::new(reader), gauge: Arc::default(), path: None, size: None }
    }

    /// Returns the gauge, which shows how much was read.
    pub(super) fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.gauge)
    }

    /// Opens the file once more, for a first pass. `None`: it is a pipe.
    pub(super) fn first_pass(&self) -> io::Result<Option<Self>> {
        self.path.as_deref().map(Self::open).transpose()
    }

    pub(super) fn into_input(self) -> Input {
        let gauge = self.gauge();
        let metered = Metered { reader: self.reader, gauge: Arc::clone(&gauge) };
        Input { reader: BufReader::with_capacity(BUFFER, metered), gauge }
    }
}

/// A buffered source.
pub(super) struct Input {
    pub(super) reader: BufReader<Metered>,
    pub(super) gauge: Arc<Gauge>,
}

/// Counts the bytes that were read, and ends the reading of a record that is too large: parsers keep a record in memory.
#[derive(Debug)]
pub(super) struct Gauge {
    read: AtomicU64,
    limit: AtomicU64,
}

impl Default for Gauge {
    fn default() -> Self {
        Self { read: AtomicU64::new(0), limit: AtomicU64::new(u64::MAX) }
    }
}

impl Gauge {
    /// Begins a record.
    pub(super) fn begin(&self) {
        let most = (MOST_BYTES + BUFFER) as u64;
        self.limit.store(self.bytes_read().saturating_add(most), Ordering::Relaxed);
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// A reader with a [`Gauge`].
pub(super) struct Metered {
    reader: Box<dyn Read + Send>,
    gauge: Arc<Gauge>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.gauge.bytes_read() >= self.gauge.limit.load(Ordering::Relaxed) {
            return Err(io::Error::other("a record is larger than 1 MiB"));
        }
        let count = self.reader.read(buffer)?;
        self.gauge.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
