//! What a registry wants to know of us: nothing, a password, or a token that another server gives for one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reimage_http::{Answer, HeaderValue, Method, Payload, Request, header, join, origin};
use serde::Deserialize;

use crate::{Credential, RegistryError, Secret};

/// A token lives as long if its server does not say.
const LIFE: Duration = Duration::from_mins(1);
/// Bytes of the answer of a token server that are read.
const MAX_TOKEN: u64 = 1 << 20;

/// What may be done with a repository, as token servers write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// What one place wants to know, and what we may show it.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    challenge: Option<Challenge>,
    tokens: BTreeMap<String, Token>,
}

/// How it wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

#[derive(Debug)]
struct Token {
    value: Secret,
    ends: Instant,
}

/// What a token server answers.
#[derive(Deserialize)]
pub(crate) struct Answered {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// `repository:PATH:pull,push` for each.
pub(crate) fn scope(path: &str, access: Access) -> String {
    let actions = if access == Access::Push { "pull,push" } else { "pull" };
    format!("repository:{path}:{actions}")
}

impl Challenge {
    /// What an answer asks for: a token rather than a password if there is a choice.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        let values = answer.headers.get_all(header::WWW_AUTHENTICATE).iter();
        Self::parse(values.map(|value| value.to_str().ok()), &answer.url)
    }

    /// The same of the header's values in an answer from `url`; those that are no text are none.
    pub(crate) fn parse<'v>(
        values: impl Iterator<Item = Option<&'v str>>,
        url: &str,
    ) -> Option<Self> {
        let mut found = None;
        for value in values {
            for challenge in http_auth::parse_challenges(value?).ok()? {
                let parameter = |name: &str| {
                    let named = challenge.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
                    named.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let realm = join(url, &parameter("realm")?)?;
                    return Some(Self::Bearer { realm, service: parameter("service") });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    found = Some(Self::Basic);
                }
            }
        }
        found
    }
}

impl Answered {
    /// The token, and how long it lives.
    pub(crate) fn parse(body: &[u8]) -> Option<(Secret, Duration)> {
        let Self { token, access_token, expires_in } = serde_json::from_slice(body).ok()?;
        let value = token.or(access_token).filter(|token| !token.is_empty())?;
        let life = expires_in.map_or(LIFE, |seconds| Duration::from_secs(seconds.min(86_400)));
        Some((Secret::new(value), life))
    }
}

impl Auth {
    /// Whether nothing was asked for yet.
    pub(crate) fn is_open(&self) -> bool {
        self.challenge.is_none()
    }

    /// Takes note of what is asked for, and forgets the token that was not good enough, unless there is another already.
    pub(crate) fn challenged(
        &mut self,
        challenge: Challenge,
        scopes: &[String],
        shown: Option<&HeaderValue>,
    ) {
        let scopes = scopes.join(" ");
        let shown = shown.and_then(|shown| shown.to_str().ok()?.strip_prefix("Bearer "));
        if self.tokens.get(&scopes).is_some_and(|token| Some(token.value.reveal()) == shown) {
            self.tokens.remove(&scopes);
        }
        self.challenge = Some(challenge);
    }

    /// What to show for these scopes; `fetch` asks a token server.
    pub(crate) fn authorization(
        &mut self,
        scopes: &[String],
        credential: Option<&Credential>,
        fetch: impl FnOnce(&str, Request<'_>) -> Result<Answer, RegistryError>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let text = match (&self.challenge, credential) {
            // Who wants a password has no use for a token that is exchanged.
            (None, _) | (Some(Challenge::Basic), None | Some(Credential::Identity(_))) => {
                return Ok(None);
            }
            (Some(_), Some(Credential::Bearer(token))) => format!("Bearer {}", token.reveal()),
            (Some(Challenge::Basic), Some(Credential::Password { username, password })) => {
                Credential::basic(username, password)
            }
            (Some(Challenge::Bearer { realm, service }), credential) => {
                let key = scopes.join(" ");
                let fresh = self.tokens.get(&key).filter(|token| Instant::now() < token.ends);
                let value = if let Some(token) = fresh {
                    token.value.clone()
                } else {
                    let token = ask(realm, service.as_deref(), scopes, credential, fetch)?;
                    let value = token.value.clone();
                    self.tokens.insert(key, token);
                    value
                };
                format!("Bearer {}", value.reveal())
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| RegistryError::Protocol {
            host: "The credentials' source".into(),
            why: "they cannot be sent in a header".into(),
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Asks a token server for a token for these scopes.
fn ask(
    realm: &str,
    service: Option<&str>,
    scopes: &[String],
    credential: Option<&Credential>,
    fetch: impl FnOnce(&str, Request<'_>) -> Result<Answer, RegistryError>,
) -> Result<Token, RegistryError> {
    let mut form: Vec<(&str, &str)> =
        service.map(|service| ("service", service)).into_iter().collect();
    form.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    let asked = Instant::now();
    let answer = if let Some(Credential::Identity(token)) = credential {
        // Scopes are one parameter here, separated by blanks.
        let scopes = scopes.join(" ");
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", "reimage"),
            ("refresh_token", token.reveal()),
            ("scope", &scopes),
        ];
        form.extend(service.map(|service| ("service", service)));
        let body = encode(&form);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let request = Request::new(Method::POST, realm).header(header::CONTENT_TYPE, kind);
        fetch(realm, Request { payload: Payload::Bytes(body.as_bytes()), ..request })?
    } else {
        let mark = if realm.contains('?') { '&' } else { '?' };
        let url = format!("{realm}{mark}{}", encode(&form));
        let mut request = Request::get(&url);
        if let Some(Credential::Password { username, password }) = credential {
            let value = HeaderValue::from_str(&Credential::basic(username, password));
            let mut value = value.expect("base64 is ASCII");
            value.set_sensitive(true);
            request.authorization = Some(value);
        }
        fetch(realm, request)?
    };
    let host = host_of(realm);
    let protocol = |why: &str| RegistryError::Protocol { host: host.clone(), why: why.to_owned() };
    let body = answer.read(MAX_TOKEN).map_err(|_| protocol("its token does not come"))?;
    let (value, life) = Answered::parse(&body).ok_or_else(|| protocol("it answers no token"))?;
    // Before it ends for the server, whose clock began while we waited.
    Ok(Token { value, ends: asked + life * 9 / 10 })
}

/// The host of a URL, for a message.
pub(crate) fn host_of(url: &str) -> String {
    origin(url).map_or_else(String::new, |(_, host, _)| host)
}

fn encode(form: &[(&str, &str)]) -> String {
    let text = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs = form.iter().map(|(name, value)| format!("{name}={}", text(value)));
    pairs.collect::<Vec<_>>().join("&")
}
