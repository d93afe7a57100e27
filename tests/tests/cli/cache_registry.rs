//! `--cache oci://`: a registry as the cache of a team

use std::{collections::BTreeMap, net::TcpListener, time::Duration};

use reimage_tests::{
    Closed, CraneRegistry, DockerRegistry, Ran, TestEnv, free_port,
    registry::{Fault, Options, Registry},
    tool,
};

use crate::cache::{SPEC, Team, moved, ran, text};

const NOTHING: [&str; 0] = [];

fn team(host: &str) -> Team {
    Team::at(SPEC, format!("oci://{host}/team/cache"))
}

fn warnings(ran: &Ran) -> Vec<String> {
    let err = ran.err();
    err.lines().filter(|line| line.starts_with("warning: ")).map(str::to_owned).collect()
}

/// Requests of one kind.
fn count(requests: &[String], start: &str) -> usize {
    requests.iter().filter(|request| request.starts_with(start)).count()
}

#[test]
fn a_second_machine_runs_nothing() {
    let registry = DockerRegistry::open();
    let team = team(&registry.host());
    let first = team.make();
    assert_eq!(ran(&first).len(), 4);
    assert_eq!(warnings(&first), NOTHING, "{first}");
    let size = registry.size();
    registry.collect_garbage();
    assert_eq!(registry.size(), size, "nothing is garbage");
    let built = team.second().reimage(["build"]).expect(0);
    assert_eq!((built.out(), ran(&built)), (first.out(), vec![]));
    assert!(moved(&built).starts_with("3 found, "), "each target is one record: {built}");
    // As another user with an empty store; and what only changed a little.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(team.env.root(), mode).expect("ours");
    let third = team.second();
    third.file("src/a.txt", "two\n");
    let built = third.as_plain_user(["build"]).expect(0);
    assert_eq!(ran(&built), ["checks.app", "steps.app"]);
    let there = team.env.file("src/a.txt", "two\n").reimage(["build"]).expect(0);
    assert_eq!(built.out(), there.out());
}

#[test]
fn every_registry_is_as_good() {
    let registry = CraneRegistry::new();
    let team = team(&registry.host());
    let first = team.make();
    assert_eq!((ran(&first).len(), warnings(&first)), (4, vec![]), "{first}");
    let built = team.second().reimage(["build"]).expect(0);
    assert_eq!((built.out(), ran(&built)), (first.out(), vec![]));
    // An image beside it sends no layer: here blobs of all repositories are one.
    let name = format!("{}/team/app:1", registry.host());
    let pushed = team.env.reimage(["push", "images.app", &name]).expect(0);
    assert!(pushed.err().contains(": 2 blobs, "), "{pushed}");
    tool("crane", ["validate", "--remote", &name]);
    // What changed is sent, and nothing else is made again.
    let third = team.second();
    team.join(&third, true);
    third.file("src/a.txt", "two\n");
    let changed = third.reimage(["build"]).expect(0);
    assert_eq!((ran(&changed), warnings(&changed)), (["checks.app", "steps.app"].map(str::to_owned).to_vec(), vec![]));
    let fourth = team.second();
    fourth.file("src/a.txt", "two\n");
    let built = fourth.reimage(["build"]).expect(0);
    assert_eq!((built.out(), ran(&built)), (changed.out(), vec![]));
}

#[test]
fn a_target_is_one_look_up_and_a_push_moves_no_layer() {
    let registry = Registry::open();
    let team = team(&registry.host());
    let first = team.make();
    // What was made is in the registry: the image needs its documents there, and nothing else.
    let before = registry.requests().len();
    let name = format!("{}/team/app:1", registry.host());
    let pushed = team.env.reimage(["push", "images.app", &name]).expect(0);
    assert!(pushed.err().contains(", 3 taken from there"), "{pushed}");
    let requests = registry.requests().split_off(before);
    assert_eq!(count(&requests, "PUT /v2/team/app/blobs/"), 1, "the configuration: {requests:#?}");
    let name = format!("{}/team/cache:app", registry.host());
    let before = registry.requests().len();
    let _ = team.env.reimage(["push", "images.app", &name]).expect(0);
    // What is small is sent without asking.
    let puts = registry.seen().split_off(before).into_iter().filter(|seen| seen.method == "PUT");
    assert!(puts.map(|seen| seen.body.len()).sum::<usize>() < 10_000, "{:#?}", registry.requests());
    // One record, and the blobs that the image is of.
    let before = registry.requests().len();
    let built = team.second().reimage(["build", "images.app"]).expect(0);
    assert!(first.out().contains(built.out().trim()), "{built}");
    let requests = registry.requests().split_off(before);
    assert_eq!(count(&requests, "GET /v2/team/cache/manifests/cache-v1-"), 1, "{requests:#?}");
    assert_eq!(count(&requests, "GET /v2/team/cache/blobs/"), 3, "{requests:#?}");
    assert_eq!(requests.len(), 4, "{requests:#?}");
    // Who has it asks nobody, and looks at nothing but what is remembered of the whole.
    let before = registry.requests().len();
    fs_err::remove_dir_all(team.env.root().join("cache/reimage/actions-v1")).expect("it is there");
    let again = team.env.reimage(["build", "images.app"]).expect(0);
    assert_eq!((again.out(), ran(&again)), (built.out(), vec![]));
    assert_eq!(registry.requests().len(), before);
}

#[test]
fn what_is_only_pushed_on_stays_in_the_cache() {
    let registry = Registry::open();
    let team = team(&registry.host());
    let _ = team.make();
    let name = format!("{}/team/app:1", registry.host());
    let of_layers = |env: &TestEnv, command: [&str; 3]| {
        let before = registry.requests().len();
        let ran = env.reimage(command).expect(0);
        let requests = registry.requests().split_off(before);
        let manifest = env.reimage(["inspect", "app:1"]).expect(0).out();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
        let layers = manifest["manifest"]["layers"].as_array().expect("a list");
        let layers: Vec<_> = layers.iter().map(|l| l["digest"].as_str().expect("text")).collect();
        let got = requests.iter().filter(|request| {
            request.starts_with("GET ") && layers.iter().any(|layer| request.ends_with(layer))
        });
        (got.count(), ran)
    };
    // Nothing changed; and a layer more.
    let second = team.second();
    let (got, pushed) = of_layers(&second, ["push", "images.app", &name]);
    assert_eq!((got, pushed.out()), (0, team.env.reimage(["push", "images.app", &name]).out()));
    let third = team.second();
    let more = SPEC.replace("[steps.app]", "[steps.app, steps.more]");
    let more = more.replace("steps = {", "steps = { more | re.Files = { files.\"/more\" = \"\" },");
    third.file("spec.ncl", &more);
    let (got, pushed) = of_layers(&third, ["push", "images.app", &name]);
    assert_eq!((got, ran(&pushed)), (0, vec![]));
    team.env.file("spec.ncl", &more);
    assert_eq!(pushed.out(), team.env.reimage(["push", "images.app", &name]).out());
    let verified = third.reimage(["cache", "verify"]).expect(0);
    assert!(verified.out().contains("all good"), "{verified}");
    // What needs the bytes gets them, and runs nothing.
    let elsewhere = Registry::open();
    let name = format!("{}/team/app:1", elsewhere.host());
    let (got, again) = of_layers(&third, ["push", "images.app", &name]);
    assert_eq!((got, ran(&again)), (3, vec![]), "{again}");
    let (got, built) = of_layers(&second, ["build", "images.app", "--quiet"]);
    assert_eq!((got, ran(&built)), (3, vec![]), "{built}");
    // What the cache has lost by then is made again.
    let fourth = team.second();
    fourth.file("spec.ncl", &more);
    let name = format!("{}/team/app:1", registry.host());
    let _ = fourth.reimage(["push", "images.app", &name]).expect(0);
    registry.state().blobs.retain(|(repository, _), _| repository != "team/cache");
    let elsewhere = Registry::open();
    let name = format!("{}/team/app:1", elsewhere.host());
    let made = fourth.reimage(["push", "images.app", &name]).expect(0);
    assert_eq!((made.out().split(' ').nth(1), ran(&made).len()), (pushed.out().split(' ').nth(1), 2));
}

#[test]
fn a_registry_that_wants_to_know_who_we_are() {
    let registry = DockerRegistry::new(Closed { password: true, ..Closed::default() });
    let team = team(&registry.host());
    let denied = team.make();
    assert_eq!(ran(&denied).len(), 4, "nothing fails");
    let says = warnings(&denied);
    assert!(says[0].contains("denies") && says[0].contains("`reimage login`"), "{denied}");
    let login = |env: &TestEnv| {
        env.file("password", "secret\n");
        let mut command = env.command();
        command.args(["login", &registry.host(), "--username", "ci", "--password-stdin"]);
        command.stdin(fs_err::File::open(env.path("password")).expect("written").into_file());
        let _ = env.run(&mut command).expect(0);
    };
    login(&team.env);
    fs_err::remove_dir_all(team.env.root().join("cache")).expect("it is there");
    let made = team.make();
    assert_eq!((ran(&made).len(), warnings(&made)), (4, vec![]), "{made}");
    let second = team.second();
    login(&second);
    assert_eq!(ran(&second.reimage(["build"]).expect(0)), NOTHING);
}

#[test]
fn who_may_only_read_is_no_failure() {
    let registry = Registry::open();
    let team = team(&registry.host());
    let _ = team.make();
    // A pull request's job: it takes, and sends nothing although it made something else.
    let before = registry.requests().len();
    let second = team.second();
    let key = text(team.env.root().join("key"));
    second.file("src/a.txt", "two\n");
    let built = second.reimage(["build", "images.app", "--cache-read-only"]).expect(0);
    assert_eq!(ran(&built), ["steps.app"]);
    let requests = registry.requests().split_off(before);
    assert_eq!(count(&requests, "GET ") + count(&requests, "HEAD "), requests.len(), "{requests:#?}");
    // One that was to write, and may not.
    for status in [401, 403, 404, 405, 413, 429] {
        let writes = |number: usize| (number, Fault::Status(status, None));
        let faults: BTreeMap<_, _> = (1..500).map(writes).collect();
        let closed = Registry::new(Options { faults, ..Options::default() });
        let third = TestEnv::new();
        third.programs(&["sh", "cat", "mkdir", "head"]).file("src/a.txt", "one\n").file("spec.ncl", SPEC);
        let url = format!("oci://{}/team/cache", closed.host());
        let flags = ["build", "images.app", "--cache-write", &url, "--cache-key", &key];
        let built = third.reimage(flags).expect(0);
        assert_eq!(ran(&built), ["steps.app", "steps.base"], "{status}");
        let says = warnings(&built);
        assert_eq!(says.len(), 2, "{status}: {built}");
        assert!(says[0].starts_with("warning: The cache oci://127.0.0.1:[PORT]/team/cache "), "{status}: {built}");
        assert!(says[1].starts_with("warning: Not sent to the cache: "), "{status}: {built}");
    }
}

#[test]
fn what_was_forged_cut_off_or_half_evicted_is_made_again() {
    type Harm = fn(&Registry);
    let harms: [(&str, Harm); 5] = [
        ("every other blob is gone", |registry| {
            let mut keep = false;
            registry.state().blobs.retain(|_, _| {
                keep = !keep;
                keep
            });
        }),
        ("blobs are cut off", |registry| {
            registry.state().blobs.values_mut().for_each(|blob| blob.truncate(blob.len() / 2));
        }),
        ("blobs have another byte", |registry| {
            registry.state().blobs.values_mut().for_each(|blob| {
                if let Some(byte) = blob.last_mut() {
                    *byte ^= 1;
                }
            });
        }),
        ("records are good ones of something else", |registry| {
            let mut state = registry.state();
            let mut digests: Vec<_> = state.tags.values().cloned().collect();
            digests.rotate_left(1);
            state.tags.values_mut().zip(digests).for_each(|(tag, digest)| *tag = digest);
        }),
        ("records are forged", |registry| {
            let mut state = registry.state();
            let manifests = std::mem::take(&mut state.manifests);
            for ((path, old), (kind, bytes)) in manifests {
                // What is said is changed, and the signature is not.
                let forged = String::from_utf8(bytes).expect("JSON").replace("ZX", "ZY");
                let digest = reimage_castore::Sha256::of(forged.as_bytes()).to_string();
                state.tags.values_mut().filter(|tag| **tag == old).for_each(|tag| tag.clone_from(&digest));
                state.manifests.insert((path, digest), (kind, forged.into_bytes()));
            }
        }),
    ];
    for (what, harm) in harms {
        let registry = Registry::open();
        let team = team(&registry.host());
        let good = team.make();
        harm(&registry);
        let built = team.second().reimage(["build"]).expect(0);
        assert_eq!(built.out(), good.out(), "{what}: {built}");
        assert!(!ran(&built).is_empty(), "{what}: {built}");
        for _ in 0..3 {
            let maker = team.second();
            team.join(&maker, true);
            assert_eq!(maker.reimage(["build"]).expect(0).out(), good.out(), "{what}");
        }
        let third = team.second().reimage(["build"]).expect(0);
        assert_eq!(ran(&third), NOTHING, "after {what}: {third}");
    }
}

#[test]
fn what_nobody_trusted_signed_is_refused() {
    let registry = Registry::open();
    let good_team = team(&registry.host());
    // Somebody who may write to the registry was there first.
    let evil = team(&registry.host());
    let _ = evil.make();
    let victim = good_team.second();
    let built = victim.reimage(["build"]).expect(0);
    assert_eq!(ran(&built).len(), 4, "nothing of it is used");
    let says = "warning: The cache oci://127.0.0.1:[PORT]/team/cache has a step that is not used: no trusted key signed it";
    assert!(warnings(&built).contains(&says.to_owned()), "{built}");
    // Whoever makes it again puts it right.
    let good = good_team.make();
    let built = good_team.second().reimage(["build"]).expect(0);
    assert_eq!((built.out(), ran(&built)), (good.out(), vec![]));
}

#[test]
fn one_that_is_dead_fails_nothing() {
    // Nobody listens; nobody answers; answers never come to an end.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = silent.local_addr().expect("it is bound").to_string();
    let slow = |number| (number, Fault::Slow(Duration::from_secs(100)));
    let faults = (1..500).map(slow).collect();
    let stalls = Registry::new(Options { faults, ..Options::default() });
    for (host, why) in [
        (format!("127.0.0.1:{}", free_port()), "refused"),
        (address, "it does not answer"),
        (stalls.host(), "it does not answer"),
    ] {
        let team = team(&host);
        let built = team.make();
        assert_eq!(ran(&built).len(), 4, "{built}");
        let says = warnings(&built);
        assert_eq!(says.len(), 2, "{built}");
        assert!(says[0].contains(" is not used: ") && says[0].contains(why), "{built}");
        assert!(says[1].starts_with("warning: Not sent to the cache: "), "{built}");
    }
    // It is asked for one thing, and then whether it is there at all: whatever is to be done, no more.
    assert!(stalls.requests().len() <= 3, "{:#?}", stalls.requests());
}

#[test]
fn offline_asks_no_registry() {
    let registry = Registry::open();
    let team = team(&registry.host());
    team.join(&team.env, true);
    let built = team.env.reimage(["build", "--offline"]).expect(0);
    assert_eq!(warnings(&built), NOTHING, "{built}");
    assert_eq!(registry.requests(), NOTHING);
}
