//! Downloads: mirrors in turn, resumed where they broke off, bounded, and verified while they are read.

use std::{
    fs::File,
    io::{Read, Seek as _, SeekFrom, Write as _},
    time::{Duration, Instant},
};

use reimage_castore::{Sha256, Sha256Hasher};
use ureq::http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{Client, HttpConfig, HttpError, Request, Slots, client::Answer, parallel, url::redact};

/// What a download must be.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// These bytes and no others.
    Exact {
        /// Their digest.
        sha256: Sha256,
        /// Their number.
        size: u64,
    },
    /// Anything of at most this many bytes.
    AtMost(u64),
}

impl Expected {
    fn limit(self) -> u64 {
        match self {
            Self::Exact { size, .. } => size,
            Self::AtMost(limit) => limit,
        }
    }
}

/// What was downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The URL that gave it.
    pub url: String,
}

/// Told of progress: the bytes that are there and, if known, the bytes in all.
pub type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

/// Downloads over HTTP and HTTPS; cheap to share between threads.
#[derive(Debug)]
pub struct Downloader {
    client: Client,
    slots: Slots,
}

impl Downloader {
    /// Makes a downloader; opens no connection.
    pub fn new(config: HttpConfig) -> Result<Self, HttpError> {
        let slots = Slots::new(config.parallel);
        Ok(Self { client: Client::new(config)?, slots })
    }

    /// Whether no connection may be opened.
    pub fn is_offline(&self) -> bool {
        self.client.config().offline
    }

    /// Downloads the first of `urls` that gives what is expected into `file`.
    ///
    /// What `file` holds already is taken for the beginning of it if the digest is known; a file that turns out
    /// wrong is emptied. URLs are tried in order, each several times if the failure may pass. It waits while as many
    /// downloads run as the configuration allows.
    pub fn fetch(
        &self,
        urls: &[String],
        expected: Expected,
        file: &mut File,
        progress: Progress<'_>,
    ) -> Result<Fetched, HttpError> {
        let _slot = self.slots.take();
        let mut failures = Vec::new();
        for url in urls {
            match self.fetch_one(url, expected, file, progress) {
                Ok(fetched) => return Ok(fetched),
                Err(error @ (HttpError::File { .. } | HttpError::Offline { .. })) => {
                    return Err(error);
                }
                Err(error) => failures.push(error),
            }
        }
        match failures.len() {
            0 => Err(HttpError::NoUrl),
            1 => Err(failures.remove(0)),
            _ => Err(HttpError::All { failures }),
        }
    }

    /// Runs `each` over `items`, as many at once as the configuration allows: [`parallel`].
    pub fn parallel<T: Sync, R: Send, E: Send>(
        &self,
        items: &[T],
        each: impl Fn(&T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        parallel(self.client.config().parallel, items, each)
    }

    fn fetch_one(
        &self,
        url: &str,
        expected: Expected,
        file: &mut File,
        progress: Progress<'_>,
    ) -> Result<Fetched, HttpError> {
        let get = |from: u64, tag: Option<&str>| {
            let answer = self.client.send(Request::get(url).from(from, tag))?;
            Part::of(&redact(url), from, answer)
        };
        self.client.download(url, &get, expected, file, progress)
    }
}

/// Asks for what follows a byte, if that is still what an entity tag names.
pub type Get<'a> = &'a dyn Fn(u64, Option<&str>) -> Result<Part, Failure>;

/// A failed request for a part of a file.
#[derive(Debug)]
pub enum Failure {
    /// It will fail again.
    Final(HttpError),
    /// It may pass; the server may have said when.
    Passing {
        /// Why it failed.
        error: HttpError,
        /// How long the server asks to wait.
        after: Option<Duration>,
    },
    /// The server has nothing from the asked byte on, or sent something else.
    Range,
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        if error.may_pass() { Self::Passing { error, after: None } } else { Self::Final(error) }
    }
}

/// A file from some byte on.
pub struct Part {
    /// The offset of its first byte.
    start: u64,
    /// The bytes that follow, if announced.
    length: Option<u64>,
    /// Its entity tag, if it is a strong one.
    tag: Option<String>,
    body: Box<dyn Read>,
}

impl Request<'_> {
    /// The same for what follows byte `from`, if it is still what `tag` names.
    #[must_use]
    pub fn from(self, from: u64, tag: Option<&str>) -> Self {
        if from == 0 {
            return self;
        }
        let range = format!("bytes={from}-").parse().expect("it is ASCII");
        let ranged = self.header(header::RANGE, range);
        match tag.and_then(|tag| HeaderValue::from_str(tag).ok()) {
            Some(tag) => ranged.header(header::IF_RANGE, tag),
            None => ranged,
        }
    }
}

impl Client {
    /// Downloads into `file` what `get` gives from a byte on, going on after failures that may pass.
    pub fn download(
        &self,
        url: &str,
        get: Get<'_>,
        expected: Expected,
        file: &mut File,
        progress: Progress<'_>,
    ) -> Result<Fetched, HttpError> {
        let mut partial = Partial::open(url, expected, file)?;
        let (mut attempt, mut requests) = (0, 0);
        loop {
            let before = partial.size;
            match self.attempt(url, get, expected, &mut partial, progress) {
                Ok(()) => {
                    let (sha256, size) = (partial.hasher.clone().finish(), partial.size);
                    let wrong = match expected {
                        Expected::Exact { sha256: wanted, size: all } => {
                            (sha256 != wanted).then_some((wanted, all))
                        }
                        Expected::AtMost(_) => None,
                    };
                    let Some((wanted, _)) = wrong else {
                        return Ok(Fetched { sha256, size, url: url.to_owned() });
                    };
                    let resumed = partial.resumed;
                    partial.restart(url)?;
                    if !resumed {
                        return Err(HttpError::Digest { url: url.to_owned(), wanted, got: sha256 });
                    }
                }
                Err(Failure::Final(error)) => {
                    // A file half there is kept for the next URL, or the next run.
                    return Err(error);
                }
                Err(Failure::Range) => {
                    partial.restart(url)?;
                    requests += 1;
                    if requests == REQUESTS {
                        return Err(HttpError::Status { url: url.to_owned(), status: 416 });
                    }
                }
                Err(Failure::Passing { error, after }) => {
                    // Whoever makes headway may go on, but not by drops.
                    let headway = partial.size > before && !matches!(error, HttpError::Slow { .. });
                    attempt = if headway { 1 } else { attempt + 1 };
                    requests += 1;
                    if attempt > self.config().retries || requests == REQUESTS {
                        return Err(error);
                    }
                    self.wait(attempt, after);
                }
            }
        }
    }

    /// Makes one request and appends what it gives.
    fn attempt(
        &self,
        url: &str,
        get: Get<'_>,
        expected: Expected,
        partial: &mut Partial<'_>,
        progress: Progress<'_>,
    ) -> Result<(), Failure> {
        if let Expected::Exact { size, .. } = expected
            && partial.size == size
        {
            return Ok(());
        }
        if matches!(expected, Expected::AtMost(_)) && partial.tag.is_none() {
            // Its two halves could be of two files, and no digest would tell.
            partial.restart(url).map_err(Failure::Final)?;
        }
        let mut answer = get(partial.size, partial.tag.as_deref())?;
        if answer.start != partial.size {
            partial.restart(url).map_err(Failure::Final)?;
        }
        partial.tag = answer.tag.take();
        let total = answer.length.map(|length| partial.size + length);
        let limit = expected.limit();
        match (expected, total) {
            (Expected::Exact { size, .. }, Some(total)) if total != size => {
                let url = url.to_owned();
                return Err(Failure::Final(HttpError::Size { url, wanted: size, got: total }));
            }
            (Expected::AtMost(_), Some(total)) if total > limit => {
                return Err(Failure::Final(HttpError::TooLarge { url: url.to_owned(), limit }));
            }
            _ => {}
        }
        let mut buffer = vec![0; 64 << 10];
        let mut pace = Pace::new(self.config().timeout);
        loop {
            let read = answer.body.read(&mut buffer).map_err(|source| Failure::Passing {
                error: HttpError::Broken { url: url.to_owned(), at: partial.size, source },
                after: None,
            })?;
            if read == 0 {
                break;
            }
            if partial.size + read as u64 > limit {
                partial.restart(url).map_err(Failure::Final)?;
                return Err(Failure::Final(HttpError::TooLarge { url: url.to_owned(), limit }));
            }
            partial.append(url, &buffer[..read]).map_err(Failure::Final)?;
            progress(
                partial.size,
                total.or(Some(limit).filter(|_| matches!(expected, Expected::Exact { .. }))),
            );
            if let Some((bytes, time)) = pace.too_slow(read) {
                let error = HttpError::Slow { url: url.to_owned(), bytes, time };
                return Err(Failure::Passing { error, after: None });
            }
        }
        let wanted = match expected {
            Expected::Exact { size, .. } => Some(size),
            Expected::AtMost(_) => total,
        };
        match wanted {
            Some(wanted) if partial.size < wanted => Err(Failure::Passing {
                error: HttpError::Short { url: url.to_owned(), size: partial.size, wanted },
                after: None,
            }),
            _ => Ok(()),
        }
    }
}

/// Requests to one URL, at most: a connection that breaks ever again ends, too.
const REQUESTS: u32 = 100;

/// Bytes a second; a server that gives fewer is as good as one that gives none.
const SLOWEST: u64 = 1 << 10;

impl Part {
    /// What an answer to a request for what follows byte `from` of `url` holds.
    pub fn of(url: &str, from: u64, answer: Answer) -> Result<Self, Failure> {
        let url = || url.to_owned();
        let status = answer.status.as_u16();
        let start = match answer.status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => match range_start(&answer.headers) {
                Some(start) if start == from => start,
                _ if from > 0 => return Err(Failure::Range),
                _ => return Err(Failure::Final(HttpError::Status { url: url(), status })),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return Err(Failure::Range),
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(Failure::Final(HttpError::Missing { url: url(), status }));
            }
            _ => {
                let error = HttpError::Status { url: url(), status };
                return Err(if answer.may_pass() {
                    Failure::Passing { error, after: answer.retry_after() }
                } else {
                    Failure::Final(error)
                });
            }
        };
        let length = answer.header(&header::CONTENT_LENGTH).and_then(|value| value.parse().ok());
        let tag = answer.header(&header::ETAG).filter(|tag| !tag.starts_with("W/"));
        let tag = tag.map(str::to_owned);
        Ok(Self { start, length, tag, body: Box::new(answer.into_reader()) })
    }
}

fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "from byte {}", self.start)
    }
}

/// How fast an answer comes, looked at once in a while.
struct Pace {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self { window, since: Instant::now(), bytes: 0 }
    }

    /// Counts bytes that came; if too few came lately, how many and in which time.
    fn too_slow(&mut self, bytes: usize) -> Option<(u64, Duration)> {
        self.bytes += bytes as u64;
        if self.since.elapsed() < self.window {
            return None;
        }
        let came = self.bytes;
        *self = Self::new(self.window);
        let slow = u128::from(came) * 1000 < u128::from(SLOWEST) * self.window.as_millis();
        slow.then_some((came, self.window))
    }
}

/// A file with the beginning of a download, and its digest so far.
struct Partial<'f> {
    file: &'f mut File,
    hasher: Sha256Hasher,
    size: u64,
    /// Whether bytes from before this download are in it.
    resumed: bool,
    /// The entity tag of what it is the beginning of.
    tag: Option<String>,
}

impl<'f> Partial<'f> {
    fn open(url: &str, expected: Expected, file: &'f mut File) -> Result<Self, HttpError> {
        let mut partial =
            Self { file, hasher: Sha256Hasher::new(), size: 0, resumed: false, tag: None };
        let Expected::Exact { size, .. } = expected else {
            partial.restart(url)?;
            return Ok(partial);
        };
        partial
            .hash_existing()
            .map_err(|source| HttpError::File { url: url.to_owned(), source })?;
        if partial.size > size {
            partial.restart(url)?;
        }
        partial.resumed = partial.size > 0;
        Ok(partial)
    }

    fn hash_existing(&mut self) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..read]);
            self.size += read as u64;
        }
    }

    fn append(&mut self, url: &str, bytes: &[u8]) -> Result<(), HttpError> {
        self.file
            .write_all(bytes)
            .map_err(|source| HttpError::File { url: url.to_owned(), source })?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self, url: &str) -> Result<(), HttpError> {
        let empty = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        empty.map_err(|source| HttpError::File { url: url.to_owned(), source })?;
        (self.hasher, self.size, self.resumed, self.tag) = (Sha256Hasher::new(), 0, false, None);
        Ok(())
    }
}
