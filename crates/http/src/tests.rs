//! Downloads from servers that behave and servers that do not.

use super::*;
use reimage_castore::Sha256;
use reimage_tests::loopback::{Reply, Server};
use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    time::Duration,
};

fn downloader() -> Downloader {
    let config = HttpConfig {
        backoff: Duration::from_millis(1),
        timeout: Duration::from_secs(5),
        retries: 2,
        ..HttpConfig::default()
    };
    Downloader::new(config).unwrap()
}

fn body() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

fn exact(body: &[u8]) -> Expected {
    Expected::Exact { sha256: Sha256::of(body), size: body.len() as u64 }
}

fn fetch(urls: &[String], expected: Expected, file: &mut File) -> Result<Fetched, HttpError> {
    downloader().fetch(urls, expected, file, &|_, _| {})
}

fn content(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn fetches_and_reports_progress() {
    let server = Server::new(|_, _| Reply::ok(&body()));
    let mut file = tempfile::tempfile().unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let fetched = downloader()
        .fetch(&[server.url("/a")], exact(&body()), &mut file, &|at, of| {
            seen.lock().unwrap().push((at, of));
        })
        .unwrap();
    assert_eq!((fetched.sha256, fetched.size), (Sha256::of(&body()), 1_200_000));
    assert_eq!(content(&mut file), body());
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&(1_200_000, Some(1_200_000))));
    assert_eq!(server.seen()[0].headers["accept-encoding"], "identity");
}

#[test]
fn resumes_after_a_broken_connection() {
    let server = Server::new(|seen, number| {
        let reply = Reply::ranged(seen, &body()).header("etag", "\"x\"");
        if number < 4 { reply.cut(200_000) } else { reply }
    });
    let mut file = tempfile::tempfile().unwrap();
    fetch(&[server.url("/a")], exact(&body()), &mut file).unwrap();
    assert_eq!(content(&mut file), body());
    let ranges: Vec<_> =
        server.seen().iter().map(|seen| seen.headers.get("range").cloned()).collect();
    assert_eq!(ranges.len(), 4);
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=200000-"));
    assert_eq!(server.seen()[1].headers["if-range"], "\"x\"");
}

#[test]
fn resumes_what_an_earlier_run_left_and_starts_over_if_it_was_wrong() {
    let server = Server::new(|seen, _| Reply::ranged(seen, &body()));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&body()[..500_000]).unwrap();
    fetch(&[server.url("/a")], exact(&body()), &mut file).unwrap();
    assert_eq!(server.seen()[0].headers["range"], "bytes=500000-");

    let mut wrong = tempfile::tempfile().unwrap();
    wrong.write_all(&vec![7; 500_000]).unwrap();
    fetch(&[server.url("/a")], exact(&body()), &mut wrong).unwrap();
    assert_eq!(content(&mut wrong), body());
}

#[test]
fn starts_over_if_the_server_knows_no_ranges() {
    let server =
        Server::new(
            |_, number| if number == 1 { Reply::ok(&body()).cut(99) } else { Reply::ok(&body()) },
        );
    let mut file = tempfile::tempfile().unwrap();
    fetch(&[server.url("/a")], exact(&body()), &mut file).unwrap();
    assert_eq!(content(&mut file), body());
}

#[test]
fn retries_what_may_pass_and_nothing_else() {
    let server = Server::new(|_, number| {
        if number < 3 { Reply::status(503).header("retry-after", "0") } else { Reply::ok(b"x") }
    });
    fetch(&[server.url("/a")], exact(b"x"), &mut tempfile::tempfile().unwrap()).unwrap();
    let server = Server::new(|_, _| Reply::status(503));
    let error =
        fetch(&[server.url("/a")], exact(b"x"), &mut tempfile::tempfile().unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} cannot be fetched: the server answered 503", server.url("/a"))
    );
    assert_eq!(server.seen().len(), 3);
    let server = Server::new(|_, _| Reply::status(403));
    fetch(&[server.url("/a")], exact(b"x"), &mut tempfile::tempfile().unwrap()).unwrap_err();
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn goes_on_to_the_next_mirror() {
    let (gone, wrong, good) = (
        Server::new(|_, _| Reply::status(404)),
        Server::new(|_, _| Reply::ok(b"y")),
        Server::new(|_, _| Reply::ok(b"x")),
    );
    let urls = [gone.url("/a"), wrong.url("/a"), good.url("/a")];
    let fetched = fetch(&urls, exact(b"x"), &mut tempfile::tempfile().unwrap()).unwrap();
    assert_eq!(fetched.url, good.url("/a"));
    let error = fetch(&urls[..1], exact(b"x"), &mut tempfile::tempfile().unwrap()).unwrap_err();
    assert!(error.is_missing());
    let error = fetch(&urls[..2], exact(b"x"), &mut tempfile::tempfile().unwrap()).unwrap_err();
    assert!(!error.is_missing());
    assert!(error.to_string().starts_with("None of 2 places has it: "), "{error}");
}

#[test]
fn names_wrong_digests_and_sizes() {
    let server = Server::new(|_, _| Reply::ok(b"other"));
    let url = server.url("/a");
    let mut file = tempfile::tempfile().unwrap();
    let expected = Expected::Exact { sha256: Sha256::of(b"thing"), size: 5 };
    let error = fetch(std::slice::from_ref(&url), expected, &mut file).unwrap_err();
    let (got, wanted) = (Sha256::of(b"other"), Sha256::of(b"thing"));
    assert_eq!(
        error.to_string(),
        format!(
            "{url} has digest {got}, not {wanted}: it changed since it was locked, or on its way"
        )
    );
    assert_eq!(content(&mut file), b"");
    let error = fetch(std::slice::from_ref(&url), Expected::AtMost(4), &mut file).unwrap_err();
    assert_eq!(error.to_string(), format!("{url} is larger than the 4 bytes that are expected"));
    let endless = Server::new(|_, _| Reply::ok(&body()).header("content-length", "999999999"));
    let error = fetch(&[endless.url("/")], Expected::AtMost(1 << 30), &mut file).unwrap_err();
    assert!(
        error.to_string().contains("broke off") || error.to_string().contains("ended after"),
        "{error}"
    );
}

#[test]
fn resumes_wherever_it_breaks_off() {
    let body: Vec<u8> = (0..40).collect();
    for at in 0..body.len() {
        let sent = body.clone();
        let server = Server::new(move |seen, number| {
            let reply = Reply::ranged(seen, &sent);
            if number == 1 { reply.cut(at) } else { reply }
        });
        let mut file = tempfile::tempfile().unwrap();
        fetch(&[server.url("/a")], exact(&body), &mut file).unwrap();
        assert_eq!(content(&mut file), body, "cut at {at}");
        assert_eq!(server.seen().len(), 2, "cut at {at}");
    }
    let server = Server::new(|seen, _| Reply::ranged(seen, &[7; 1000]).cut(1));
    fetch(&[server.url("/a")], exact(&[7; 1000]), &mut tempfile::tempfile().unwrap()).unwrap_err();
    assert_eq!(server.seen().len(), 100, "headway by drops ends");
}

#[test]
fn no_two_files_are_spliced() {
    // The file changes between two requests. What has no pin must come from one answer, or from one entity.
    let (old, new) = (vec![1; 1000], vec![2; 1000]);
    for tags in [false, true] {
        let (old, body) = (old.clone(), new.clone());
        let server = Server::new(move |seen, number| {
            let (body, tag) = if number == 1 { (&old, "\"1\"") } else { (&body, "\"2\"") };
            let stale = seen.headers.get("if-range").is_some_and(|wanted| wanted != tag);
            let reply = if stale { Reply::ok(body) } else { Reply::ranged(seen, body) };
            let reply = if number == 1 { reply.cut(500) } else { reply };
            if tags { reply.header("etag", tag) } else { reply }
        });
        let mut file = tempfile::tempfile().unwrap();
        fetch(&[server.url("/a")], Expected::AtMost(9999), &mut file).unwrap();
        assert_eq!(content(&mut file), new, "with tags: {tags}");
    }
}

#[test]
fn starts_over_if_the_server_has_less() {
    let server = Server::new(|seen, number| match number {
        1 => Reply::ok(&body()).cut(800),
        2 if seen.headers.contains_key("range") => Reply::status(416),
        _ => Reply::ok(&body()),
    });
    let mut file = tempfile::tempfile().unwrap();
    fetch(&[server.url("/a")], exact(&body()), &mut file).unwrap();
    assert_eq!(content(&mut file), body());
}

#[test]
fn endless_and_slow_answers_end() {
    let endless = || Server::new(|_, _| Reply { endless: true, ..Reply::ok(&vec![7; 65536]) });
    let mut file = tempfile::tempfile().unwrap();
    let server = endless();
    let error = fetch(&[server.url("/a")], Expected::AtMost(1 << 20), &mut file).unwrap_err();
    let url = server.url("/a");
    assert_eq!(
        error.to_string(),
        format!("{url} is larger than the 1048576 bytes that are expected")
    );
    assert_eq!(content(&mut file), b"");
    let server = endless();
    let error = fetch(&[server.url("/a")], exact(b"x"), &mut file).unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { limit: 1, .. }), "{error}");
    let server = Server::new(|_, _| Reply::ok(b"four"));
    for wanted in [3, 5] {
        let error = fetch(&[server.url("/a")], exact(&vec![b'x'; wanted]), &mut file).unwrap_err();
        let url = server.url("/a");
        assert_eq!(
            error.to_string(),
            format!(
                "{url} has 4 bytes, not {wanted}: it changed since it was locked, or on its way"
            )
        );
    }
    assert_eq!(server.seen().len(), 2, "another try would give the same");

    let slow = Server::new(|seen, _| Reply {
        drip: Some(Duration::from_millis(20)),
        ..Reply::ranged(seen, &[7; 5000])
    });
    let config = HttpConfig {
        backoff: Duration::from_millis(1),
        timeout: Duration::from_millis(200),
        retries: 1,
        ..HttpConfig::default()
    };
    let url = slow.url("/a");
    let error = Downloader::new(config)
        .unwrap()
        .fetch(std::slice::from_ref(&url), exact(&[7; 5000]), &mut file, &|_, _| {})
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(&format!("{url} is too slow: ")), "{error}");
    assert!(error.ends_with(" bytes came in 200ms"), "{error}");
    assert_eq!(slow.seen().len(), 2);
}

#[test]
fn follows_redirects_but_not_for_ever() {
    let good = Server::new(|_, _| Reply::ok(b"x"));
    let target = good.url("/b");
    let server = Server::new(move |seen, _| match seen.path.as_str() {
        "/there" => Reply::status(302).header("location", &target),
        "/file" => Reply::status(301).header("location", "file:///etc/passwd"),
        path => Reply::status(307).header("location", path),
    });
    let mut file = tempfile::tempfile().unwrap();
    fetch(&[server.url("/there")], exact(b"x"), &mut file).unwrap();
    for path in ["/file", "/loop"] {
        let mut file = tempfile::tempfile().unwrap();
        let error = fetch(&[server.url(path)], exact(b"x"), &mut file).unwrap_err();
        assert!(!error.is_missing(), "{path}: {error}");
    }
    assert!(server.seen().len() < 50, "{}", server.seen().len());
}

#[test]
fn offline_opens_no_connection() {
    let server = Server::new(|_, _| Reply::ok(b"x"));
    let downloader =
        Downloader::new(HttpConfig { offline: true, ..HttpConfig::default() }).unwrap();
    let error = downloader
        .fetch(
            &[server.url("/a")],
            Expected::AtMost(9),
            &mut tempfile::tempfile().unwrap(),
            &|_, _| {},
        )
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is neither in the store nor in a lock bundle, and `--offline` forbids to fetch it",
            server.url("/a")
        )
    );
    assert!(server.seen().is_empty());
}

#[test]
fn goes_through_the_proxy_but_for_exempt_hosts() {
    let proxy = Server::new(|_, _| Reply::ok(b"x"));
    let mut config = HttpConfig { retries: 0, ..HttpConfig::default() };
    config.proxies.http = Some(proxy.url(""));
    let mut file = tempfile::tempfile().unwrap();
    let url = ["http://unknown.invalid/a".to_owned()];
    Downloader::new(config.clone())
        .unwrap()
        .fetch(&url, Expected::AtMost(9), &mut file, &|_, _| {})
        .unwrap();
    config.proxies.none = vec!["invalid".into()];
    Downloader::new(config)
        .unwrap()
        .fetch(&url, Expected::AtMost(9), &mut file, &|_, _| {})
        .unwrap_err();
    assert_eq!(proxy.seen().len(), 1);
}

#[test]
fn refuses_what_is_no_url() {
    for url in ["ftp://h/a", "a b", "file:///etc/passwd", ""] {
        let error =
            fetch(&[url.to_owned()], Expected::AtMost(9), &mut tempfile::tempfile().unwrap())
                .unwrap_err();
        assert_eq!(error.to_string(), format!("`{url}` is not a URL of `http` or `https`"));
    }
}

#[test]
fn runs_in_parallel_in_order() {
    let downloader = downloader();
    let all = downloader.parallel(&[3, 1, 2], |n| Ok::<_, ()>(n * 2)).unwrap();
    assert_eq!(all, [6, 2, 4]);
    assert_eq!(downloader.parallel(&[3, 1, 2], |n| if *n == 1 { Err(*n) } else { Ok(*n) }), Err(1));
    assert_eq!(downloader.parallel(&[], |n: &u8| Ok::<_, ()>(*n)), Ok(Vec::new()));
}

fn client() -> Client {
    Client::new(HttpConfig::default()).unwrap()
}

#[test]
fn credentials_go_to_nobody_else() {
    let other = Server::new(|_, _| Reply::ok(b"there"));
    let there = other.url("/there");
    let server = Server::new(move |seen, _| match seen.path.as_str() {
        "/near" => Reply::status(302).header("location", "far"),
        _ => Reply::status(307).header("location", &there),
    });
    let near = server.url("/near");
    let mut request = Request::get(&near).header(header::ACCEPT, "a/b".parse().unwrap());
    request.authorization = Some(HeaderValue::from_static("Basic secret"));
    assert!(!format!("{request:?}").contains("secret"), "{request:?}");
    let answer = client().send(request).unwrap();
    assert_eq!(answer.url, other.url("/there"));
    assert_eq!(answer.read(100).unwrap(), b"there");
    assert!(server.seen().iter().all(|seen| seen.headers["authorization"] == "Basic secret"));
    assert_eq!(server.seen().len(), 2);
    let seen = &other.seen()[0];
    assert_eq!(seen.headers.get("authorization"), None);
    assert_eq!(seen.headers["accept"], "a/b");
}

#[test]
fn redirects_end() {
    let server = Server::new(|_, number| match number {
        20 => Reply::status(302).header("location", "ftp://elsewhere/"),
        _ => Reply::status(302).header("location", "/again"),
    });
    let url = server.url("/");
    let error = client().send(Request::get(&url)).unwrap_err();
    assert!(matches!(error, HttpError::Redirect { .. }) && !error.may_pass(), "{error}");
    // What sends something is not sent twice.
    let mut put = Request::new(Method::PUT, &url);
    put.payload = Payload::Bytes(b"x");
    assert_eq!(client().send(put).unwrap().status, StatusCode::FOUND);
    while server.seen().len() < 19 {
        let _ = client().send(Request::new(Method::POST, &url)).unwrap();
    }
    assert!(matches!(client().send(Request::get(&url)), Err(HttpError::Redirect { .. })));
}

#[test]
fn what_is_sent_arrives() {
    let server = Server::new(|seen, _| Reply::ok(&seen.body));
    let url = server.url("/");
    let send = |payload| {
        let request = Request { payload, ..Request::new(Method::PUT, &url) };
        client().send(request).unwrap().read(1 << 30).unwrap()
    };
    assert_eq!(send(Payload::None), b"");
    assert_eq!(send(Payload::Bytes(b"")), b"");
    assert_eq!(send(Payload::Bytes(b"some")), b"some");
    let body = body();
    let size = body.len() as u64;
    assert!(send(Payload::Stream { reader: &mut body.as_slice(), size }) == body);
    assert_eq!(server.seen()[3].headers["content-length"], size.to_string());
    assert!(client().send(Request::get(&url)).unwrap().read(3).is_ok());
}

#[test]
fn passwords_of_proxies_are_not_shown() {
    let proxies =
        Proxies { http: Some("http://user:secret@proxy:1".to_owned()), ..Proxies::default() };
    let config = HttpConfig { proxies, ..HttpConfig::default() };
    assert!(!format!("{config:?}").contains("secret"), "{config:?}");
}
