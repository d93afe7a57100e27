//! The few things to do with URLs: where one leads, whose it is, and how it is shown.

use ureq::http::Uri;

/// Where `location`, found in an answer from `base`, leads; none if it is no URL of HTTP.
pub fn join(base: &str, location: &str) -> Option<String> {
    let location = location.split('#').next()?;
    let (scheme, rest) = base.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = path.split('?').next()?;
    let url = if location.starts_with("http://") || location.starts_with("https://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{path}{location}")
    } else if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return None;
    } else {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    origin(&url).map(|_| url)
}

/// Scheme, host and port: who gets what is sent to `url`.
pub fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_lowercase();
    let port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    // Behind a user there may be none.
    let host = uri.host().filter(|host| !host.is_empty())?;
    Some((scheme, host.to_lowercase(), uri.port_u16().unwrap_or(port)))
}

/// Takes user and password out of a URL that is shown.
pub fn redact(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let base = "https://a:1/b/c?d=e";
        for (location, url) in [
            ("/x?y", Some("https://a:1/x?y")),
            ("x/y", Some("https://a:1/b/x/y")),
            ("?z", Some("https://a:1/b/c?z")),
            ("//h/x", Some("https://h/x")),
            ("http://h/x#f", Some("http://h/x")),
            ("ftp://h/x", None),
            ("file:/etc/passwd", None),
            ("http://", None),
            ("https://user@:/x", None),
        ] {
            assert_eq!(join(base, location).as_deref(), url, "{location}");
        }
        assert_eq!(join("http://a", "x").as_deref(), Some("http://a/x"));
        assert_eq!(join("http://a?q=/b", "x").as_deref(), Some("http://a/x"));
    }

    #[test]
    fn origins() {
        let same = |a, b| origin(a) == origin(b);
        assert!(same("https://A/x", "https://a:443/y"));
        assert!(!same("https://a/", "http://a/") && !same("https://a/", "https://a:444/"));
        assert_eq!(origin("ftp://a/"), None);
    }
}
