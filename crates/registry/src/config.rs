//! Where registries are, as this machine reaches them.

use std::collections::BTreeMap;

use crate::Credentials;

/// How this machine reaches registries; none of it is in a digest.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// Who we are to them.
    pub credentials: Credentials,
    /// Where images of a registry are looked for first: `HOST[:PORT][/PREFIX]`, `https://` or `http://` before it.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Registries that may be spoken to without encryption, besides those on this machine: `HOST[:PORT]`.
    pub insecure: Vec<String>,
}

/// Docker's registry, as names of images call it.
pub(crate) const HUB: &str = "docker.io";
/// Where it is.
const HUB_HOST: &str = "registry-1.docker.io";

/// One place that speaks the registry's protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// `http` or `https`, if that is said.
    pub(crate) scheme: Option<String>,
    /// `HOST[:PORT]`
    pub(crate) host: String,
    /// What stands before the path of every repository, with a slash behind it, or nothing.
    pub(crate) prefix: String,
}

impl Place {
    /// Where the registry of this name is.
    pub(crate) fn of(registry: &str) -> Self {
        let host = if registry == HUB { HUB_HOST } else { registry };
        Self { scheme: None, host: host.into(), prefix: String::new() }
    }

    /// A mirror as the configuration writes it.
    pub(crate) fn of_mirror(mirror: &str) -> Self {
        let (scheme, rest) = match mirror.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_lowercase()), rest),
            None => (None, mirror),
        };
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/').trim_start_matches("v2/");
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { scheme, host: host.into(), prefix }
    }

    /// Whether it is this machine itself.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        };
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(Place::of("docker.io").host, "registry-1.docker.io");
        let place = Place::of_mirror("http://Mirror:5000/v2/hub/");
        assert_eq!((place.scheme.as_deref(), &*place.host), (Some("http"), "Mirror:5000"));
        assert_eq!(place.prefix, "hub/");
        assert_eq!(Place::of_mirror("m").prefix, "");
        for (host, loopback) in [
            ("localhost:5000", true),
            ("127.0.0.2", true),
            ("[::1]:5000", true),
            ("a.localhost", true),
            ("localhost.example", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(Place::of(host).is_loopback(), loopback, "{host}");
        }
    }
}
