//! Registries as this machine reaches them: one request until it is answered.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reimage_http::{
    Answer, Client, HttpConfig, HttpError, Method, Payload, Request, StatusCode, origin,
};

use crate::{
    Credential, RegistryConfig, RegistryError, Repository, Secret,
    auth::{Auth, Challenge, host_of},
    config::Place,
    repository::nothing,
};

/// All registries; cheap to share between threads.
#[derive(Debug)]
pub struct Registry {
    pub(crate) client: Client,
    config: RegistryConfig,
    hosts: Mutex<BTreeMap<Place, Arc<Host>>>,
}

/// One place that was found.
#[derive(Debug)]
pub(crate) struct Host {
    /// The place as messages call it.
    pub(crate) name: String,
    /// `https://HOST[:PORT]`
    pub(crate) base: String,
    /// What stands before the path of every repository.
    pub(crate) prefix: String,
    auth: Mutex<Auth>,
    /// By repository.
    credentials: Mutex<BTreeMap<String, Option<Credential>>>,
}

/// A request of one repository.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// The path after `/v2/REPOSITORY/`, or a whole URL.
    pub(crate) at: &'a str,
    pub(crate) headers: Vec<(reimage_http::HeaderName, reimage_http::HeaderValue)>,
    /// What messages call it.
    pub(crate) what: &'a str,
    /// What may be done, as token servers write it.
    pub(crate) scopes: &'a [String],
}

/// A request that came to nothing.
pub(crate) struct Failure {
    pub(crate) error: RegistryError,
    /// Whether it may pass.
    pub(crate) passes: bool,
    /// How long the server asks to wait.
    pub(crate) after: Option<Duration>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, at: &'a str, what: &'a str, scopes: &'a [String]) -> Self {
        Self { method, at, headers: Vec::new(), what, scopes }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self { error, passes: false, after: None }
    }
}

impl Registry {
    /// Takes a configuration; opens no connection.
    pub fn new(http: HttpConfig, config: RegistryConfig) -> Result<Self, HttpError> {
        Ok(Self { client: Client::new(http)?, config, hosts: Mutex::default() })
    }

    /// A repository of a registry, both as names of images call them.
    pub fn repository(&self, registry: &str, path: &str) -> Repository<'_> {
        Repository { registry: self, name: registry.into(), path: path.into() }
    }

    /// Fails if the registry does not take this name and password.
    pub fn check(
        &self,
        registry: &str,
        username: &str,
        password: &Secret,
    ) -> Result<(), RegistryError> {
        let host = self.host(&Place::of(registry));
        let repository = self.repository(registry, "");
        let credential =
            Credential::Password { username: username.to_owned(), password: password.clone() };
        let mut known = host.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(String::new(), Some(credential));
        drop(known);
        let at = format!("{}/v2/", host.base);
        let call = Call::new(Method::GET, &at, "a login", &[]);
        self.retrying(|| {
            let answer = self.send(&host, &repository, &call, &mut nothing)?;
            if answer.status.is_success() {
                return Ok(());
            }
            Err(Self::refused(&host, call.what, answer).into())
        })
    }

    /// How many blobs are on their way at once.
    pub fn parallel(&self) -> usize {
        self.client.config().parallel
    }

    /// Where images of a registry are looked for: its mirrors, then itself.
    pub(crate) fn places(&self, registry: &str) -> Vec<Place> {
        let mirrors = self.config.mirrors.get(registry).into_iter().flatten();
        mirrors.map(|mirror| Place::of_mirror(mirror)).chain([Place::of(registry)]).collect()
    }

    /// Finds a place: whether it speaks with encryption, if that is not known.
    pub(crate) fn host(&self, place: &Place) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(place) {
            return Arc::clone(host);
        }
        let name = &place.host;
        let plain = place.is_loopback() || self.config.insecure.contains(name);
        let scheme = match &place.scheme {
            Some(scheme) if scheme == "http" => "http",
            None if plain && !self.encrypts(name) => "http",
            _ => "https",
        };
        let host = Arc::new(Host {
            name: name.clone(),
            base: format!("{scheme}://{name}"),
            prefix: place.prefix.clone(),
            auth: Mutex::default(),
            credentials: Mutex::default(),
        });
        hosts.insert(place.clone(), Arc::clone(&host));
        host
    }

    /// Whether whoever listens there speaks TLS, with whatever certificate.
    fn encrypts(&self, host: &str) -> bool {
        match self.client.send(Request::get(&format!("https://{host}/v2/"))) {
            Ok(_) => true,
            Err(error) => !error.may_pass() && !matches!(error, HttpError::Offline { .. }),
        }
    }

    /// Asks until there is an answer, at most as often as the configuration says; an answer may be an error that lasts.
    pub(crate) fn retrying<T>(
        &self,
        mut once: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let mut attempt = 0;
        loop {
            match once() {
                Ok(done) => return Ok(done),
                Err(Failure { error, passes: true, after }) => {
                    attempt += 1;
                    if attempt > self.client.config().retries {
                        return Err(error);
                    }
                    self.client.wait(attempt, after);
                }
                Err(Failure { error, .. }) => return Err(error),
            }
        }
    }

    /// Asks once, showing who we are, and once more if that was not known or no longer holds.
    ///
    /// What is sent is made anew each time. An answer that may pass is a failure.
    pub(crate) fn send(
        &self,
        host: &Host,
        repository: &Repository<'_>,
        call: &Call<'_>,
        payload: Payloads<'_, '_>,
    ) -> Result<Answer, Failure> {
        let url = host.url(repository.path(), call.at);
        let own = origin(&url) == origin(&host.base);
        let mut again = true;
        loop {
            let mut request = Request::new(call.method.clone(), &url);
            request.headers.clone_from(&call.headers);
            let credential = self.credential(host, repository)?;
            if own {
                request.authorization = self.authorization(host, call, credential.as_ref())?;
            }
            let shown = request.authorization.clone();
            let mut sent = payload()?;
            request.payload = sent.payload();
            let answer = self.client.send(request);
            if let Some(source) = sent.failed() {
                return Err(RegistryError::Io(source).into());
            }
            let answer = answer.map_err(|error| {
                let passes = error.may_pass();
                let error = RegistryError::http(call.what, &host.name, error);
                Failure { error, passes, after: None }
            })?;
            if answer.status == StatusCode::UNAUTHORIZED
                && own
                && again
                && let Some(challenge) = Challenge::of(&answer)
            {
                host.auth().challenged(challenge, call.scopes, shown.as_ref());
                again = false;
                continue;
            }
            if answer.may_pass() {
                let after = answer.retry_after();
                let error = Self::refused(host, call.what, answer);
                return Err(Failure { error, passes: true, after });
            }
            return Ok(answer);
        }
    }

    /// What an answer that is an error means.
    pub(crate) fn refused(host: &Host, what: &str, answer: Answer) -> RegistryError {
        let known = host.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.values().any(Option::is_some);
        RegistryError::refused(what, &host.name, known, answer)
    }

    /// Who we are, looked up once.
    fn credential(
        &self,
        host: &Host,
        repository: &Repository<'_>,
    ) -> Result<Option<Credential>, RegistryError> {
        // Nobody is asked for anything before the registry asks.
        if host.auth().is_open() {
            return Ok(None);
        }
        let mut known = host.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let path = format!("{}{}", host.prefix, repository.path());
        if let Some(credential) = known.get(&path) {
            return Ok(credential.clone());
        }
        // A mirror is asked under its own name.
        let name = if Place::of(repository.registry_name()).host == host.name {
            repository.registry_name()
        } else {
            &host.name
        };
        let credential = self.config.credentials.find(name, &path)?;
        known.insert(path, credential.clone());
        Ok(credential)
    }

    fn authorization(
        &self,
        host: &Host,
        call: &Call<'_>,
        credential: Option<&Credential>,
    ) -> Result<Option<reimage_http::HeaderValue>, RegistryError> {
        let encrypted = host.base.starts_with("https://");
        // As long as it is held nobody else asks for the same token.
        host.auth().authorization(call.scopes, credential, |realm, request| {
            let server = host_of(realm);
            if encrypted && !realm.starts_with("https://") {
                let why = format!("it sends us to {server}, unencrypted, for a token");
                return Err(RegistryError::Protocol { host: host.name.clone(), why });
            }
            let Request { method, url, headers, authorization, payload } = request;
            let body = match payload {
                Payload::Bytes(bytes) => Some(bytes),
                _ => None,
            };
            self.retrying(|| {
                let mut request = Request::new(method.clone(), url);
                request.headers.clone_from(&headers);
                request.authorization.clone_from(&authorization);
                request.payload = body.map_or(Payload::None, Payload::Bytes);
                let answer = self.client.send(request).map_err(|error| Failure {
                    passes: error.may_pass(),
                    after: None,
                    error: RegistryError::http("a token", &server, error),
                })?;
                if answer.status.is_success() {
                    return Ok(answer);
                }
                let (passes, after) = (answer.may_pass(), answer.retry_after());
                let error =
                    RegistryError::refused(call.what, &host.name, credential.is_some(), answer);
                Err(Failure { error, passes, after })
            })
        })
    }
}

impl Host {
    fn auth(&self) -> std::sync::MutexGuard<'_, Auth> {
        self.auth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The URL of what lies at `at` in a repository; a whole URL is itself.
    pub(crate) fn url(&self, repository: &str, at: &str) -> String {
        if at.contains("://") {
            return at.to_owned();
        }
        let Self { base, prefix, .. } = self;
        format!("{base}/v2/{prefix}{repository}/{at}")
    }
}

/// Makes what is sent, anew for each try.
pub(crate) type Payloads<'f, 'p> = &'f mut dyn FnMut() -> Result<Sent<'p>, RegistryError>;

/// What is sent with a request, as long as that takes.
pub(crate) enum Sent<'p> {
    Nothing,
    Bytes(&'p [u8]),
    Stream { reader: Watched<'p>, size: u64 },
}

/// A reader that remembers why it failed: that is not the server's fault.
pub(crate) struct Watched<'p> {
    inner: Box<dyn Read + 'p>,
    failed: Option<io::Error>,
}

impl<'p> Watched<'p> {
    pub(crate) fn new(inner: Box<dyn Read + 'p>) -> Self {
        Self { inner, failed: None }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            self.failed = Some(error);
            copy
        })
    }
}

impl Sent<'_> {
    fn payload(&mut self) -> Payload<'_> {
        match self {
            Self::Nothing => Payload::None,
            Self::Bytes(bytes) => Payload::Bytes(bytes),
            Self::Stream { reader, size } => Payload::Stream { reader, size: *size },
        }
    }

    fn failed(self) -> Option<io::Error> {
        match self {
            Self::Stream { reader, .. } => reader.failed,
            _ => None,
        }
    }
}
