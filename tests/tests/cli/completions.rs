//! `reimage completions`

use reimage_tests::TestEnv;

#[test]
fn every_shell() {
    let env = TestEnv::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = env.reimage(["completions", shell]).expect(0);
        assert!(ran.out().contains("completions"), "{shell} knows no verb");
        assert!(ran.stderr.is_empty());
    }
}

#[test]
fn bash_accepts_it() {
    let env = TestEnv::new();
    let script = env.reimage(["completions", "bash"]).expect(0);
    let file = env.path("reimage.bash");
    fs_err::write(&file, script.stdout).expect("writable");
    let check = std::process::Command::new("bash").arg("-n").arg(&file).status();
    assert!(check.expect("bash is there").success());
}
