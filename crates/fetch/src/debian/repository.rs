//! Fetches a suite's signed `InRelease` and the indexes it vouches for.

use super::{
    mirrors::Place,
    release::{Release, ReleaseCheck, ReleaseError},
};
use reimage_castore::Digest;
use reimage_http::{Downloader, Expected, HttpError};
use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Why a suite or its index could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// No place has the suite.
    #[error("No mirror has the suite `{suite}`: asked {}", .urls.join(", "))]
    NoSuite {
        /// The suite.
        suite: String,
        /// The archives asked.
        urls: Vec<String>,
    },
    /// The suite has no such component.
    #[error("The suite `{suite}` has no component `{component}` for {architecture}; it has {}", .known.join(", "))]
    NoComponent {
        /// The suite.
        suite: String,
        /// The component.
        component: String,
        /// The architecture.
        architecture: String,
        /// The components it has.
        known: Vec<String>,
    },
    /// Nothing that was fetched of the suite was acceptable.
    #[error("The suite `{suite}` cannot be had from {url}")]
    Release {
        /// The suite.
        suite: String,
        /// The archive.
        url: String,
        /// Why not.
        source: Box<ReleaseError>,
    },
    /// A download failed.
    #[error("The suite `{suite}` cannot be fetched")]
    Http {
        /// The suite.
        suite: String,
        /// Why not.
        source: Box<HttpError>,
    },
    /// An index is damaged although its digest is right, or the disk failed.
    #[error("The index {index} cannot be read")]
    Read {
        /// The index.
        index: String,
        /// What the system or the decoder says.
        source: io::Error,
    },
}

/// The largest `InRelease`, in bytes; Debian's has 150 kB.
const MAX_RELEASE: u64 = 16 << 20;
/// The largest index, decompressed; Debian's has 50 MB.
const MAX_INDEX: u64 = 1 << 30;

/// A suite as one archive offers it.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) release: Release,
    base: String,
}

/// What an index is called, and the forms of it that are offered: where below the suite, and what they must be.
pub(super) type Offers = (String, Vec<(String, Expected)>);

impl Suite {
    /// Fetches the `InRelease` of the first place that has an acceptable one; keeps it in `cache`, and takes it from
    /// there where no connection may be opened.
    pub(super) fn open(
        downloader: &Downloader,
        name: &str,
        places: &[Place],
        now: SystemTime,
        newest_seen: Option<SystemTime>,
        cache: &Path,
    ) -> Result<Self, RepositoryError> {
        let mut first = None;
        for place in places {
            let base = if name.ends_with('/') {
                format!("{}/{}", place.url, name.trim_start_matches("./").trim_end_matches('/'))
            } else {
                format!("{}/dists/{name}", place.url)
            };
            let base = base.trim_end_matches('/').to_owned();
            let url = format!("{base}/InRelease");
            let kept = Kept::new(cache, &url);
            let offline = downloader.is_offline();
            let got = if offline { kept.read(&url) } else { fetch_small(downloader, &url) };
            let message = match got {
                Ok(message) => message,
                Err(source) => {
                    if source.is_missing() {
                        kept.write(b"", &url).map_err(|source| {
                            let suite = name.to_owned();
                            RepositoryError::Http { suite, source: Box::new(source) }
                        })?;
                    } else {
                        first.get_or_insert(RepositoryError::Http {
                            suite: name.to_owned(),
                            source: Box::new(source),
                        });
                    }
                    continue;
                }
            };
            // What is kept was in time when it came, and who asks for it wants no news.
            let valid_until = place.valid_until && !offline;
            let check = ReleaseCheck { now, valid_until, newest_seen };
            match Release::verify(&url, &message, name, &place.keyring, &check) {
                Ok(release) => {
                    kept.write(&message, &url).map_err(|source| {
                        let suite = name.to_owned();
                        RepositoryError::Http { suite, source: Box::new(source) }
                    })?;
                    return Ok(Self { release, base });
                }
                Err(source) => {
                    let (suite, url) = (name.to_owned(), place.url.clone());
                    first.get_or_insert(RepositoryError::Release {
                        suite,
                        url,
                        source: Box::new(source),
                    });
                }
            }
        }
        let urls = places.iter().map(|place| place.url.clone()).collect();
        Err(first.unwrap_or(RepositoryError::NoSuite { suite: name.to_owned(), urls }))
    }

    /// Returns the indexes to read: of each component, for the architecture and, where they are apart, for `all`.
    pub(super) fn indexes(
        &self,
        components: &[String],
        architecture: &str,
    ) -> Result<Vec<Offers>, RepositoryError> {
        let flat = vec![String::new()];
        let components = if self.release.suite.ends_with('/') { &flat } else { components };
        let mut indexes = Vec::new();
        for component in components {
            for architecture in [architecture, "all"] {
                let all = architecture == "all";
                if all && (!self.release.separate_all || component.is_empty()) {
                    continue;
                }
                let mut offers = Vec::new();
                for (path, sha256, size) in self.release.index(component, architecture) {
                    let expected = Expected::Exact { sha256, size };
                    let location = self.release.location(&path, &sha256);
                    // A mirror may lack the names by digest that the archive has.
                    if location != path {
                        offers.push((location, expected));
                    }
                    offers.push((path, expected));
                }
                if offers.is_empty() && !all {
                    return Err(RepositoryError::NoComponent {
                        suite: self.release.suite.clone(),
                        component: component.clone(),
                        architecture: architecture.to_owned(),
                        known: self.release.components(architecture),
                    });
                }
                if !offers.is_empty() {
                    let label = format!("`{}` {component} {architecture}", self.release.suite);
                    indexes.push((label, offers));
                }
            }
        }
        Ok(indexes)
    }

    /// Fetches an index by the first of its forms that is there and returns its text; keeps it in `cache`.
    pub(super) fn fetch_index(
        &self,
        downloader: &Downloader,
        offers: &[(String, Expected)],
        cache: &Path,
    ) -> Result<String, RepositoryError> {
        let mut first = None;
        for (location, expected) in offers {
            let url = format!("{}/{location}", self.base);
            let read = |source| RepositoryError::Read { index: url.clone(), source };
            match fetch_cached(downloader, &url, *expected, cache) {
                Ok(Ok(file)) => return decompress(file).map_err(read),
                Ok(Err(source)) => return Err(read(source)),
                Err(source) => {
                    let suite = self.release.suite.clone();
                    first.get_or_insert(RepositoryError::Http { suite, source: Box::new(source) });
                }
            }
        }
        Err(first.unwrap_or_else(|| RepositoryError::NoSuite {
            suite: self.release.suite.clone(),
            urls: vec![self.base.clone()],
        }))
    }
}

/// The `InRelease` that a place gave last; empty: that it had none.
struct Kept(PathBuf);

impl Kept {
    fn new(cache: &Path, url: &str) -> Self {
        Self(cache.join(format!("release-{}", Digest::of(url.as_bytes()))))
    }

    fn read(&self, url: &str) -> Result<Vec<u8>, HttpError> {
        match fs::read(&self.0) {
            Ok(message) if message.is_empty() => {
                Err(HttpError::Missing { url: url.to_owned(), status: 404 })
            }
            Ok(message) => Ok(message),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(HttpError::Offline { url: url.to_owned() })
            }
            Err(source) => Err(HttpError::File { url: url.to_owned(), source }),
        }
    }

    fn write(&self, message: &[u8], url: &str) -> Result<(), HttpError> {
        let file = |source| HttpError::File { url: url.to_owned(), source };
        if fs::read(&self.0).is_ok_and(|there| there == message) {
            return Ok(());
        }
        let directory = self.0.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(file)?;
        let mut temporary = tempfile::NamedTempFile::new_in(directory).map_err(file)?;
        temporary.write_all(message).map_err(file)?;
        temporary.persist(&self.0).map(|_| ()).map_err(|error| file(error.error))
    }
}

fn fetch_small(downloader: &Downloader, url: &str) -> Result<Vec<u8>, HttpError> {
    let file = |source| HttpError::File { url: url.to_owned(), source };
    let mut temporary = tempfile::tempfile().map_err(file)?;
    downloader.fetch(
        &[url.to_owned()],
        Expected::AtMost(MAX_RELEASE),
        &mut temporary,
        &|_, _| {},
    )?;
    let mut bytes = Vec::new();
    temporary.rewind().and_then(|()| temporary.read_to_end(&mut bytes)).map_err(file)?;
    Ok(bytes)
}

/// Fetches a file of known digest by way of a directory in which files are named by theirs.
fn fetch_cached(
    downloader: &Downloader,
    url: &str,
    expected: Expected,
    cache: &Path,
) -> Result<io::Result<File>, HttpError> {
    let Expected::Exact { sha256, .. } = expected else { return Err(HttpError::NoUrl) };
    let kept: PathBuf = cache.join(sha256.hex());
    let urls = [url.to_owned()];
    if let Ok(mut file) = File::options().read(true).write(true).open(&kept) {
        // Complete and right, it is only read; otherwise it is completed.
        downloader.fetch(&urls, expected, &mut file, &|_, _| {})?;
        return Ok(file.rewind().map(|()| file));
    }
    let file = |source| HttpError::File { url: url.to_owned(), source };
    fs::create_dir_all(cache).map_err(file)?;
    let mut temporary = tempfile::NamedTempFile::new_in(cache).map_err(file)?;
    downloader.fetch(&urls, expected, temporary.as_file_mut(), &|_, _| {})?;
    let mut done = temporary.persist(&kept).map_err(|error| file(error.error))?;
    Ok(done.rewind().map(|()| done))
}

/// Reads an index whole, whatever compresses it.
fn decompress(file: File) -> io::Result<String> {
    let reader = crate::archive::decompress(io::BufReader::new(file))?;
    let mut bytes = Vec::new();
    reader.take(MAX_INDEX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INDEX {
        return Err(io::Error::other(format!("it is larger than {MAX_INDEX} bytes")));
    }
    // Maintainers' names were not always UTF-8; nothing that is read here is touched by that.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
