//! `re.Http`: servers that fail, mirrors, and what is not what was locked

use std::{
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use insta::assert_snapshot;
use reimage_castore::read_dir_sorted;
use reimage_tests::{
    TestEnv,
    loopback::{Reply, Server},
};

use crate::lock::{constant, http, spec};

fn project(server: &Server) -> TestEnv {
    let env = TestEnv::new();
    env.file("spec.ncl", spec(&[("file", http(server, "/a"))]));
    env
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let body: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = body.clone();
    let server = Server::new(move |seen, number| {
        let reply = Reply::ranged(seen, &sent).header("etag", "\"1\"");
        if number % 2 == 1 { reply.cut(150_000) } else { reply }
    });
    let env = project(&server);
    let _ = env.reimage(["lock"]).expect(0);
    let _ = env.reimage(["build", "--store", "empty", "--output", "out"]).expect(0);
    assert_eq!(fs_err::read(env.path("out/file")).expect("it is there"), body);
    let ranges = server.seen().into_iter().map(|seen| seen.headers.get("range").cloned());
    let again = Some("bytes=150000-".to_owned());
    assert_eq!(ranges.collect::<Vec<_>>(), [None, again.clone(), None, again]);
}

#[test]
fn a_download_goes_on_in_the_next_run() {
    let body: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = body.clone();
    let victim = Arc::new(Mutex::new(None));
    let killed = Arc::clone(&victim);
    // Of the first run it gives the beginning; when the second asks for more it is killed.
    let server = Server::new(move |seen, number| match number {
        2 => Reply::ranged(seen, &sent).cut(150_000),
        3 => Reply::status(403),
        4 => Reply::ranged(seen, &sent).cut(100_000),
        5 => {
            let victim: u32 = killed.lock().expect("not poisoned").expect("it runs");
            let kill = Command::new("kill").args(["-KILL", &victim.to_string()]).status();
            assert!(kill.expect("it can be run").success());
            Reply::status(403)
        }
        _ => Reply::ranged(seen, &sent),
    });
    let env = project(&server);
    let build = ["build", "--store", "empty", "--output", "out"];
    let _ = env.reimage(["lock"]).expect(0);
    let _ = env.reimage(build).expect(3);
    let mut second = env.command().args(build).stderr(Stdio::null()).spawn().expect("it can be run");
    *victim.lock().expect("not poisoned") = Some(second.id());
    assert_eq!(second.wait().expect("it ends").code(), None, "a signal ended it");
    let partials = || read_dir_sorted(env.path("empty/partial")).expect("it is there").len();
    assert_eq!(partials(), 1);
    let _ = env.reimage(build).expect(0);
    assert_eq!(fs_err::read(env.path("out/file")).expect("it is there"), body);
    assert_eq!(partials(), 0);
    let from: Vec<_> = server.seen().iter().map(|seen| seen.from().unwrap_or(0)).collect();
    assert_eq!(from, [0, 0, 150_000, 150_000, 250_000, 250_000]);
}

#[test]
fn what_was_begun_and_is_something_else() {
    let server = constant();
    let env = project(&server);
    let _ = env.reimage(["lock"]).expect(0);
    let lock = env.read("reimage.lock");
    let digest = lock.split("sha256:").nth(1).expect("a digest")[..64].to_owned();
    // As after a power cut.
    env.file(format!("empty/partial/{digest}"), vec![0; 3]);
    env.file("empty/version", "reimage store 1\n");
    let _ = env.reimage(["build", "--store", "empty"]).expect(0);
    // And what nobody comes for goes.
    let other = env.path(format!("empty/partial/{}", digest.replace(['0', '1'], "2")));
    fs_err::write(&other, "x").expect("writable");
    let _ = env.reimage(["prune", "--store", "empty"]).expect(0);
    assert!(other.exists(), "it is young");
    let file = fs_err::File::options().write(true).open(&other).expect("it is there");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("it is ours");
    let _ = env.reimage(["prune", "--store", "empty"]).expect(0);
    assert!(!other.exists());
}

#[test]
fn what_is_not_what_was_locked() {
    let server = Server::new(|_, number| Reply::ok(if number == 1 { b"good" } else { b"evil" }));
    let env = project(&server);
    let _ = env.reimage(["lock"]).expect(0);
    assert_snapshot!(env.reimage(["build", "--store", "empty"]), @"
    ------- stderr -------
     fetched http://127.0.0.1:[PORT]/a 4 B
      failed steps.file
    error: Step `steps.file`: http://127.0.0.1:[PORT]/a has digest sha256:b5c1fb2efc6d6b4674c2fdcc48ce01b43a3b7c03763c0c3355de0099ee0f8c73, not sha256:770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c: it changed since it was locked, or on its way
    hint: `reimage lock --update steps.file` pins what it gives now
    hint: it is written at spec.ncl:4:20
    [exit status: 1]
    ");
    let server = Server::new(|_, number| Reply::ok(&vec![b'x'; number]));
    let env = project(&server);
    let _ = env.reimage(["lock"]).expect(0);
    assert_snapshot!(env.reimage(["build", "--store", "empty"]), @"
    ------- stderr -------
      failed steps.file
    error: Step `steps.file`: http://127.0.0.1:[PORT]/a has 2 bytes, not 1: it changed since it was locked, or on its way
    hint: `reimage lock --update steps.file` pins what it gives now
    hint: it is written at spec.ncl:4:20
    [exit status: 1]
    ");
    let server = Server::new(|_, number| Reply { endless: number > 1, ..Reply::ok(b"x") });
    let env = project(&server);
    let _ = env.reimage(["lock"]).expect(0);
    assert_snapshot!(env.reimage(["build", "--store", "empty"]), @"
    ------- stderr -------
      failed steps.file
    error: Step `steps.file`: http://127.0.0.1:[PORT]/a is larger than the 1 bytes that are expected
    hint: it is written at spec.ncl:4:20
    [exit status: 1]
    ");
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn what_cannot_be_had() {
    let server = Server::new(|seen, _| match seen.path.as_str() {
        "/gone" => Reply::status(404),
        "/secret" => Reply::status(403),
        path => Reply::status(302).header("location", path),
    });
    let env = TestEnv::new();
    let lock = |path: &str| {
        env.file("spec.ncl", spec(&[("file", http(&server, path))]));
        env.reimage(["lock"])
    };
    assert_snapshot!(lock("/gone"), @"
    ------- stderr -------
    error: Step `steps.file`: http://127.0.0.1:[PORT]/gone does not exist: the server answered 404
    hint: it is written at spec.ncl:4:20
    [exit status: 1]
    ");
    assert_snapshot!(lock("/secret"), @"
    ------- stderr -------
    error: Step `steps.file`: http://127.0.0.1:[PORT]/secret cannot be fetched: the server answered 403
    hint: it is written at spec.ncl:4:20
    [exit status: 3]
    ");
    assert_snapshot!(lock("/loop"), @"
    ------- stderr -------
    error: Step `steps.file`: http://127.0.0.1:[PORT]/loop leads to no answer: it is redirected without end, or to what is no URL
    hint: it is written at spec.ncl:4:20
    [exit status: 3]
    ");
    env.file("spec.ncl", spec(&[("file", "re.http { url = \"ftp://example.org/a\" }".to_owned())]));
    assert_snapshot!(env.reimage(["lock"]), @r#"
    ------- stderr -------
    error: `url`: expected `https://..` or `http://..`, got `ftp://example.org/a`
      ┌─ spec.ncl:4:28
      │
    4 │     file = re.http { url = "ftp://example.org/a" },
      │                            ^^^^^^^^^^^^^^^^^^^^^
    [exit status: 1]
    "#);
}

#[test]
fn mirrors_come_before_the_url_itself() {
    let (origin, empty, mirror) = (constant(), Server::new(|_, _| Reply::status(404)), constant());
    let env = project(&origin);
    let (from, first, second) = (origin.url("/"), empty.url("/x"), mirror.url("/"));
    env.config(&format!("[http.mirrors]\n\"{from}\" = [\"{first}\", \"{second}\"]\n"));
    let _ = env.reimage(["lock"]).expect(0);
    assert_eq!((origin.seen().len(), empty.seen().len(), mirror.seen().len()), (0, 1, 1));
    assert_eq!(empty.seen()[0].path, "/x/a");
    assert!(env.read("reimage.lock").contains(&origin.url("/a")), "a lock names no mirror");
    drop(mirror);
    env.config(&format!("[http.mirrors]\n\"{from}\" = [\"{first}\"]\n"));
    let _ = env.reimage(["build", "--store", "empty"]).expect(0);
    assert_eq!(origin.seen().len(), 1, "then where it says");
    let wrong = Server::new(|_, _| Reply::ok(b"/b"));
    env.config(&format!("[http.mirrors]\n\"{from}\" = [\"{}\"]\n", wrong.url("/")));
    let _ = env.reimage(["build", "--store", "other"]).expect(0);
    assert_eq!((wrong.seen().len(), origin.seen().len()), (1, 2), "the digest counts");
}
