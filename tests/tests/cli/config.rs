//! `reimage config`

use std::collections::BTreeSet;

use insta::assert_snapshot;
use reimage_tests::TestEnv;

#[test]
fn a_file_and_a_flag() {
    let env = TestEnv::new();
    env.config("[build]\njobs = 3\n[debian]\nmirrors = [\"http://127.0.0.1:1/debian\"]\n[sandbox]\nmemory = \"1024m\"\n");
    let ran = env.reimage(["config", "--store", "here", "--keyring", "k.gpg"]).expect(0);
    // How far to the right hangs on how long this test's path is.
    let text = String::from_utf8_lossy(&ran.stdout);
    let columns = text.lines().map(|row| row.find("   # ").expect("a comment"));
    assert_eq!(columns.collect::<BTreeSet<_>>().len(), 1, "{text}");
    let text = ran.out();
    let rows = text.lines().map(|row| row.split_once("   # ").expect("a comment"));
    let rows = rows.map(|(setting, origin)| format!("{} # {origin}", setting.trim_end()));
    assert_snapshot!(rows.collect::<Vec<_>>().join("\n"), @r#"
    store.path = "[ROOT]/work/here" # --store
    build.jobs = 3 # [ROOT]/config/reimage/config.toml
    http.mirrors = {} # default: each URL is fetched from where it says
    registry.mirrors = {} # default: each registry is asked itself
    registry.insecure = [] # default: those on this machine
    debian.mirrors = ["http://127.0.0.1:1/debian"] # [ROOT]/config/reimage/config.toml
    debian.security_mirrors = [] # default: the machine's apt sources
    debian.keyrings = ["[ROOT]/work/k.gpg"] # --keyring
    sandbox.ids = "auto" # default: what the machine offers
    sandbox.memory = "1g" # [ROOT]/config/reimage/config.toml
    cache.urls = [] # default
    cache.write = [] # default
    cache.trust = [] # default: what the key signed
    cache.key = "" # default
    cache.wait = 300 # default
    "#);
}

#[test]
fn for_programs() {
    let env = TestEnv::new();
    env.config("[build]\njobs = 3\n[sandbox]\nmemory = \"1g\"\n");
    assert_snapshot!(env.reimage(["config", "--format", "json"]), @r#"{"build.jobs":{"origin":"[ROOT]/config/reimage/config.toml","value":3},"cache.key":{"origin":"default","value":""},"cache.trust":{"origin":"default","value":[]},"cache.urls":{"origin":"default","value":[]},"cache.wait":{"origin":"default","value":300},"cache.write":{"origin":"default","value":[]},"debian.keyrings":{"origin":"default","value":[]},"debian.mirrors":{"origin":"default","value":[]},"debian.security_mirrors":{"origin":"default","value":[]},"http.mirrors":{"origin":"default","value":{}},"registry.insecure":{"origin":"default","value":[]},"registry.mirrors":{"origin":"default","value":{}},"sandbox.ids":{"origin":"default","value":"auto"},"sandbox.memory":{"origin":"[ROOT]/config/reimage/config.toml","value":"1g"},"store.path":{"origin":"default","value":"[ROOT]/cache/reimage"}}"#);
}

#[test]
fn an_unknown_key() {
    let env = TestEnv::new();
    env.config("[debian]\nmirors = [\"http://127.0.0.1:1/debian\"]\n");
    assert_snapshot!(env.reimage(["config"]), @"
    ------- stderr -------
    error: [ROOT]/config/reimage/config.toml:2:1: unknown field `mirors`, expected one of `mirrors`, `security_mirrors`, `keyrings`
    hint: did you mean `mirrors`?
    hint: `reimage config` prints every key and its value
    [exit status: 64]
    ");
}

#[test]
fn not_text() {
    let env = TestEnv::new();
    let file = env.root().join("config/reimage/config.toml");
    env.config("");
    fs_err::write(file, b"\xff\xfe").expect("writable");
    assert_snapshot!(env.reimage(["config"]), @"
    ------- stderr -------
    error: `[ROOT]/config/reimage/config.toml` is not UTF-8 text
    [exit status: 64]
    ");
}

#[test]
fn mirrors_of_urls() {
    let env = TestEnv::new();
    env.config("[http.mirrors]\n\"https://example.org/\" = [\"http://127.0.0.1:1/\"]\n");
    let ran = env.reimage(["config"]).expect(0);
    let row = ran.out().lines().find(|line| line.starts_with("http.")).map(str::to_owned);
    assert_snapshot!(row.expect("it is there"), @r#"http.mirrors."https://example.org/" = ["http://127.0.0.1:1/"]   # [ROOT]/config/reimage/config.toml"#);
    env.config("[http.mirrors]\n\"https://example.org\" = [\"http://127.0.0.1:1/\"]\n");
    assert_snapshot!(env.reimage(["config"]), @"
    ------- stderr -------
    error: [ROOT]/config/reimage/config.toml:2:1: `https://example.org` is not the beginning of URLs: `https://HOST/` or `https://HOST/PATH/`
    hint: `reimage config` prints every key and its value
    [exit status: 64]
    ");
    env.config("[http]\nmirors = {}\n");
    assert_snapshot!(env.reimage(["config"]), @"
    ------- stderr -------
    error: [ROOT]/config/reimage/config.toml:2:1: unknown field `mirors`, expected `mirrors`
    hint: did you mean `mirrors`?
    hint: `reimage config` prints every key and its value
    [exit status: 64]
    ");
}
