//! One request at a time: proxies, ranges, and which failures may pass.

use super::HttpError;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use ureq::{
    Agent, Body, Proxy,
    http::{HeaderMap, Response, StatusCode, Uri, header},
    tls::{RootCerts, TlsConfig},
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
            user_agent: concat!("reimage/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Proxies by scheme of what is fetched; all are asked for a tunnel (`CONNECT`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http`.
    pub http: Option<String>,
    /// For `https`.
    pub https: Option<String>,
    /// Hosts reached without proxy: `example.org` with all below it, or `*`.
    pub none: Vec<String>,
}

/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Client {
    config: HttpConfig,
    direct: Agent,
    http: Option<Agent>,
    https: Option<Agent>,
    waits: AtomicU64,
}

/// A failed request.
pub(super) enum Failure {
    /// It will fail again.
    Final(HttpError),
    /// It may pass; the server may have said when.
    Passing { error: HttpError, after: Option<Duration> },
    /// The server has nothing from the asked byte on, or sent something else.
    Range,
}

/// The answer to a request.
pub(super) struct Answer {
    /// The offset of its first byte.
    pub(super) start: u64,
    /// The bytes that follow, if announced.
    pub(super) length: Option<u64>,
    /// Its entity tag, if it is a strong one.
    pub(super) tag: Option<String>,
    pub(super) body: Box<dyn std::io::Read>,
}

impl Client {
    pub(super) fn new(config: HttpConfig) -> Result<Self, HttpError> {
        let agent = |proxy: Option<Proxy>| {
            let tls = TlsConfig::builder()
                .root_certs(RootCerts::PlatformVerifier)
                .unversioned_rustls_crypto_provider(Arc::new(
                    rustls::crypto::ring::default_provider(),
                ))
                .build();
            Agent::config_builder()
                .proxy(proxy)
                .tls_config(tls)
                .http_status_as_error(false)
                .user_agent(&config.user_agent)
                .timeout_connect(Some(config.timeout))
                .timeout_recv_response(Some(config.timeout))
                .timeout_per_read(Some(config.timeout))
                .max_idle_connections_per_host(config.parallel)
                .build()
                .new_agent()
        };
        let through = |proxy: &Option<String>| {
            let made = proxy.as_ref().filter(|proxy| !proxy.is_empty()).map(|proxy| {
                Proxy::new(proxy)
                    .map(|made| agent(Some(made)))
                    .map_err(|_| HttpError::BadProxy { proxy: redact(proxy) })
            });
            made.transpose()
        };
        Ok(Self {
            direct: agent(None),
            http: through(&config.proxies.http)?,
            https: through(&config.proxies.https)?,
            waits: AtomicU64::new(config.seed),
            config,
        })
    }

    pub(super) fn config(&self) -> &HttpConfig {
        &self.config
    }

    /// Asks for what `url` has from byte `from` on, if it is still what `tag` names.
    pub(super) fn get(&self, url: &str, from: u64, tag: Option<&str>) -> Result<Answer, Failure> {
        let shown = redact(url);
        if self.config.offline {
            return Err(Failure::Final(HttpError::Offline { url: shown }));
        }
        let agent = self
            .agent(url)
            .ok_or_else(|| Failure::Final(HttpError::BadUrl { url: shown.clone() }))?;
        let mut request = agent.get(url).header(header::ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
            if let Some(tag) = tag {
                request = request.header(header::IF_RANGE, tag);
            }
        }
        match request.call() {
            Ok(response) => answer(&shown, from, response),
            Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => {
                Err(Failure::Final(HttpError::BadUrl { url: shown }))
            }
            Err(source) => {
                let ends =
                    matches!(source, ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed);
                let error = HttpError::Unreachable { url: shown, source: Box::new(source) };
                Err(if ends {
                    Failure::Final(error)
                } else {
                    Failure::Passing { error, after: None }
                })
            }
        }
    }

    /// Waits before retry number `attempt`, from 1 on: as long as the server asked, or twice as long each time.
    pub(super) fn wait(&self, attempt: u32, after: Option<Duration>) {
        let seed = self.waits.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let jitter = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 54; // 0..1024
        let base =
            after.unwrap_or_else(|| self.config.backoff.saturating_mul(1 << (attempt - 1).min(6)));
        let spread = base.mul_f64(f64::from(u32::try_from(jitter).unwrap_or(0)) / 2048.0);
        std::thread::sleep((base + spread).min(LONGEST_WAIT));
    }

    fn agent(&self, url: &str) -> Option<&Agent> {
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?;
        let proxied = match uri.scheme_str()? {
            "http" => &self.http,
            "https" => &self.https,
            _ => return None,
        };
        let without = self.config.proxies.none.iter().any(|rule| {
            let rule = rule.trim_start_matches('.');
            rule == "*"
                || host == rule
                || host.strip_suffix(rule).is_some_and(|front| front.ends_with('.'))
        });
        Some(proxied.as_ref().filter(|_| !without).unwrap_or(&self.direct))
    }
}

fn answer(url: &str, from: u64, response: Response<Body>) -> Result<Answer, Failure> {
    let status = response.status();
    let headers = response.headers();
    let code = status.as_u16();
    let start = match status {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT => match range_start(headers) {
            Some(start) if start == from => start,
            _ if from > 0 => return Err(Failure::Range),
            _ => {
                return Err(Failure::Final(HttpError::Status {
                    url: url.to_owned(),
                    status: code,
                }));
            }
        },
        StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return Err(Failure::Range),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            return Err(Failure::Final(HttpError::Missing { url: url.to_owned(), status: code }));
        }
        _ => {
            let error = HttpError::Status { url: url.to_owned(), status: code };
            let passing = status.is_server_error() || matches!(code, 408 | 425 | 429);
            return Err(if passing {
                Failure::Passing { error, after: retry_after(headers) }
            } else {
                Failure::Final(error)
            });
        }
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let length = text(header::CONTENT_LENGTH).and_then(|value| value.parse().ok());
    let tag = text(header::ETAG).filter(|tag| !tag.starts_with("W/")).map(str::to_owned);
    Ok(Answer { start, length, tag, body: Box::new(response.into_body().into_reader()) })
}

fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// Returns what `Retry-After` asks for: seconds, or a date, which is taken against the server's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let after = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let date = |text| httpdate::parse_http_date(text).ok();
    date(after)?.duration_since(date(text(header::DATE)?)?).ok().map(|wait| wait.min(LONGEST_WAIT))
}

/// Takes user and password out of a URL that is shown.
fn redact(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}
