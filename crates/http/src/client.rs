//! One request at a time: proxies, certificates, redirects.

use std::{
    collections::BTreeMap,
    error::Error as _,
    fmt,
    io::{self, Read},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ureq::{
    Agent, Body, Proxy, SendBody,
    http::{self, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    tls::TlsConfig,
};

use crate::{
    HttpError,
    certs::Certs,
    retry::{self, Waits},
    url::{join, origin, redact},
};

/// How to reach servers; all of it is the machine's and none of it in a digest.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Whether to open no connection at all.
    pub offline: bool,
    /// The proxies.
    pub proxies: Proxies,
    /// How often a failure that may pass is retried without headway.
    pub retries: u32,
    /// The wait before the first retry; it doubles with each.
    pub backoff: Duration,
    /// The longest wait for a connection, and for the next bytes of an answer.
    pub timeout: Duration,
    /// How many downloads run at once: a fixed number, as it says nothing of the processors.
    pub parallel: usize,
    /// Any number that differs between processes, so that their retries do not come in step.
    pub seed: u64,
    /// Directories with certificates of single hosts, as `/etc/docker/certs.d`; the first that knows a host holds.
    pub certs: Vec<PathBuf>,
    /// What the client calls itself.
    pub user_agent: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            offline: false,
            proxies: Proxies::default(),
            retries: 4,
            backoff: Duration::from_millis(500),
            timeout: Duration::from_secs(30),
            parallel: 8,
            seed: 0,
            certs: Vec::new(),
            user_agent: concat!("reimage/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Proxies by scheme of what is fetched; all are asked for a tunnel (`CONNECT`).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http`.
    pub http: Option<String>,
    /// For `https`.
    pub https: Option<String>,
    /// Hosts reached without proxy: `example.org` with all below it, or `*`.
    pub none: Vec<String>,
}

/// As many answers that only lead elsewhere are followed.
const REDIRECTS: usize = 10;

/// How much longer than anything else a server may take to say that it has taken what was sent.
const TAKING: u32 = 10;

/// Sends requests; cheap to share between threads.
pub struct Client {
    config: HttpConfig,
    /// By scheme, host and port.
    agents: Mutex<BTreeMap<(String, String, u16), Agent>>,
    waits: Waits,
}

/// A request.
pub struct Request<'a> {
    /// Its method; only what reads is redirected.
    pub method: Method,
    /// Where it goes.
    pub url: &'a str,
    /// Headers that every host on the way may see.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who asks; sent to the URL's own scheme, host and port, and to nobody whom it redirects to.
    pub authorization: Option<HeaderValue>,
    /// What is sent.
    pub payload: Payload<'a>,
}

/// What is sent with a request.
pub enum Payload<'a> {
    /// Nothing.
    None,
    /// These bytes, perhaps none.
    Bytes(&'a [u8]),
    /// What a reader gives, which must be so many bytes.
    Stream {
        /// The reader.
        reader: &'a mut dyn Read,
        /// Bytes.
        size: u64,
    },
}

/// The answer to a request, whatever its status.
pub struct Answer {
    /// Where it came from in the end.
    pub url: String,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Body,
}

impl<'a> Request<'a> {
    /// A request for what is at `url`.
    pub fn get(url: &'a str) -> Self {
        Self::new(Method::GET, url)
    }

    /// A request without a body.
    pub fn new(method: Method, url: &'a str) -> Self {
        let (headers, authorization, payload) = (Vec::new(), None, Payload::None);
        Self { method, url, headers, authorization, payload }
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Client {
    /// Makes a client; opens no connection.
    pub fn new(config: HttpConfig) -> Result<Self, HttpError> {
        let client = Self {
            agents: Mutex::default(),
            waits: Waits::new(config.backoff, config.seed),
            config,
        };
        for proxy in [&client.config.proxies.http, &client.config.proxies.https] {
            proxy_of(proxy.as_deref())?;
        }
        Ok(client)
    }

    /// How servers are reached.
    pub fn config(&self) -> &HttpConfig {
        &self.config
    }

    /// Sends a request once, and again to where it is redirected.
    pub fn send(&self, request: Request<'_>) -> Result<Answer, HttpError> {
        let Request { method, url, mut headers, authorization, mut payload } = request;
        let shown = redact(url);
        if self.config.offline {
            return Err(HttpError::Offline { url: shown });
        }
        headers.push((header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        let reads = matches!(method, Method::GET | Method::HEAD);
        let mut at = url.to_owned();
        for _ in 0..=REDIRECTS {
            let mut one = http::Request::builder().method(&method).uri(&at);
            for (name, value) in &headers {
                one = one.header(name, value);
            }
            if let Some(authorization) = &authorization
                && origin(&at) == origin(url)
            {
                one = one.header(header::AUTHORIZATION, authorization);
            }
            if let Payload::Stream { size, .. } = &payload {
                one = one.header(header::CONTENT_LENGTH, *size);
            }
            let answer = self.one(one, &at, &mut payload).map_err(|e| failed(e, &shown))?;
            let location = answer.header(&header::LOCATION);
            let moved = reads && matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = location.filter(|_| moved) else { return Ok(answer) };
            at = join(&at, location).ok_or_else(|| HttpError::Redirect { url: shown.clone() })?;
        }
        Err(HttpError::Redirect { url: shown })
    }

    /// Sends one request to one server.
    fn one(
        &self,
        request: http::request::Builder,
        url: &str,
        payload: &mut Payload<'_>,
    ) -> Result<Answer, Failed> {
        let agent = self.agent(url)?;
        let response = match payload {
            Payload::None => agent.run(request.body(()).map_err(ureq::Error::from)?)?,
            Payload::Bytes(bytes) => {
                agent.run(request.body(&**bytes).map_err(ureq::Error::from)?)?
            }
            Payload::Stream { reader, .. } => {
                let body = SendBody::from_reader(*reader);
                let request = request.body(body).map_err(ureq::Error::from)?;
                let patience = Some(self.config.timeout * TAKING);
                let request =
                    agent.configure_request(request).timeout_recv_response(patience).build();
                agent.run(request)?
            }
        };
        Ok(Answer::new(url, response))
    }

    /// Waits before retry number `attempt`, from 1 on: as long as the server asked, or twice as long each time.
    pub fn wait(&self, attempt: u32, after: Option<Duration>) {
        std::thread::sleep(self.waits.time(attempt, after));
    }

    fn agent(&self, url: &str) -> Result<Agent, Failed> {
        let bad = || HttpError::BadUrl { url: redact(url) };
        let origin = origin(url).ok_or_else(bad)?;
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&origin) {
            return Ok(agent.clone());
        }
        let (scheme, host, port) = &origin;
        let proxies = &self.config.proxies;
        let proxy = if scheme == "https" { &proxies.https } else { &proxies.http };
        let proxy = proxy_of(proxy.as_deref().filter(|_| !proxies.without(host)))?;
        let certs = match scheme.as_str() {
            "https" => Certs::of(&self.config.certs, host, *port)?,
            _ => Certs::default(),
        };
        let agent = self.new_agent(proxy, certs.tls());
        agents.insert(origin, agent.clone());
        Ok(agent)
    }

    fn new_agent(&self, proxy: Option<Proxy>, tls: TlsConfig) -> Agent {
        let HttpConfig { timeout, parallel, user_agent, .. } = &self.config;
        Agent::config_builder()
            .proxy(proxy)
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(user_agent)
            .timeout_connect(Some(*timeout))
            .timeout_recv_response(Some(*timeout))
            .timeout_per_read(Some(*timeout))
            .timeout_per_write(Some(*timeout))
            .max_idle_connections_per_host(*parallel)
            .build()
            .new_agent()
    }
}

/// Why one request came to nothing.
enum Failed {
    Ours(HttpError),
    Library(ureq::Error),
}

impl From<HttpError> for Failed {
    fn from(error: HttpError) -> Self {
        Self::Ours(error)
    }
}

impl From<ureq::Error> for Failed {
    fn from(error: ureq::Error) -> Self {
        Self::Library(error)
    }
}

fn failed(failed: Failed, shown: &str) -> HttpError {
    let url = shown.to_owned();
    match failed {
        Failed::Ours(error) => error,
        Failed::Library(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => HttpError::BadUrl { url },
        Failed::Library(source) => HttpError::Unreachable { url, source: Box::new(source) },
    }
}

/// Whether one end is not who the other takes it for: that does not pass.
pub(crate) fn is_certificate(error: &ureq::Error) -> bool {
    let bad = |error: &rustls::Error| {
        matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
    };
    match error {
        ureq::Error::Rustls(error) => bad(error),
        ureq::Error::Io(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            inner.or_else(|| error.source()?.downcast_ref()).is_some_and(bad)
        }
        _ => false,
    }
}

fn proxy_of(proxy: Option<&str>) -> Result<Option<Proxy>, HttpError> {
    let made = proxy
        .filter(|proxy| !proxy.is_empty())
        .map(|proxy| Proxy::new(proxy).map_err(|_| HttpError::BadProxy { proxy: redact(proxy) }));
    made.transpose()
}

impl Proxies {
    /// Whether `host` is reached without proxy.
    fn without(&self, host: &str) -> bool {
        self.none.iter().any(|rule| {
            let rule = rule.trim_start_matches('.');
            rule == "*"
                || host == rule
                || host.strip_suffix(rule).is_some_and(|front| front.ends_with('.'))
        })
    }
}

impl Answer {
    fn new(url: &str, response: http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self { url: url.to_owned(), status: parts.status, headers: parts.headers, body }
    }

    /// A header that is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Its body.
    pub fn into_reader(self) -> impl Read + use<> {
        self.body.into_reader()
    }

    /// Its body, of which more than `limit` bytes are an error.
    pub fn read(self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.into_reader().take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the answer has more than {limit} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// The beginning of its body, for an error message.
    pub fn beginning(self, limit: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What came before it broke off is what there is to show.
        let _ = self.into_reader().take(limit).read_to_end(&mut bytes);
        bytes
    }

    /// Whether the server may answer otherwise later.
    pub fn may_pass(&self) -> bool {
        retry::may_pass(self.status)
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        retry::retry_after(&self.headers)
    }
}

// A proxy's URL may hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |proxy: &Option<String>| proxy.as_deref().map(redact);
        f.debug_struct("Proxies")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("none", &self.none)
            .finish()
    }
}

// Headers may hold secrets.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.method, redact(self.url), self.payload)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.status, redact(&self.url))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Stream { size, .. } => write!(f, "{size} bytes"),
        }
    }
}
