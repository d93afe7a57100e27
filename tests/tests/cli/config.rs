//! `reimage config`

use insta::assert_snapshot;
use reimage_tests::TestEnv;

#[test]
fn a_file_and_a_flag() {
    let env = TestEnv::new();
    env.config("[build]\njobs = 3\n[debian]\nmirrors = [\"http://127.0.0.1:1/debian\"]\n");
    assert_snapshot!(env.reimage(["config", "--store", "here"]), @"");
}

#[test]
fn for_programs() {
    let env = TestEnv::new();
    env.config("[build]\njobs = 3\n");
    assert_snapshot!(env.reimage(["config", "--format", "json"]), @"");
}

#[test]
fn an_unknown_key() {
    let env = TestEnv::new();
    env.config("[debian]\nmirors = [\"http://127.0.0.1:1/debian\"]\n");
    assert_snapshot!(env.reimage(["config"]), @"");
}

#[test]
fn not_text() {
    let env = TestEnv::new();
    let file = env.root().join("config/reimage/config.toml");
    env.config("");
    fs_err::write(file, b"\xff\xfe").expect("writable");
    assert_snapshot!(env.reimage(["config"]), @"");
}
