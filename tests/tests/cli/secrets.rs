//! Secrets that a step makes: no image publishes one. Those that were there before are nobody's business.

use insta::assert_snapshot;
use reimage_tests::TestEnv;

/// A step that makes something out of random numbers, in the form of a key; `fields` are its own.
const MAKE: &str = r#"script = "mkdir -p /etc/ssl; (echo -----BEGIN PRIVATE KEY-----; od -An -tx1 -N16 /dev/urandom; echo -----END PRIVATE KEY-----) > /etc/ssl/key""#;

fn env(steps: &str, layers: &str) -> TestEnv {
    let env = TestEnv::new();
    env.programs(&["sh", "cat", "mkdir", "od", "rm", "cp", "tr"]).file(
        "spec.ncl",
        format!(
            r#"let re = import "reimage.ncl" in
{{
  steps = {{
    root | re.Copy = {{ from = re.local {{ path = "root" }} }},
{steps}
  }},
  images.web | re.Image = {{ layers = {layers} }},
}} | re.Spec
"#
        ),
    );
    env
}

#[test]
fn a_key_that_a_step_makes() {
    let env = env(
        &format!("    keys | re.Run = {{ from = root, {MAKE}, entropy = 'fixed }},"),
        "[steps.root, steps.keys]",
    );
    assert_snapshot!(env.reimage(["build", "images.web"]).expect(1), @"
    ------- stderr -------
       start steps.keys
        done steps.keys [TIME]
       start steps.keys
        done steps.keys [TIME]
    error: `images.web` would publish a secret that step `steps.keys` made: `/etc/ssl/key`
    hint: a step's random numbers are the same for everybody, and so is what it makes of them: delete it in the step, or leave it out with `exclude`, and make it where a container starts
    hint: if `/etc/ssl/key` is meant to be public, `entropy = 'real` makes another one in each build, and the image says that it is not reproducible
    hint: it is written at spec.ncl:5:21
    [exit status: 1]
    ");
    // It is not asked again, and refused again.
    let again = env.reimage(["build", "images.web"]).expect(1);
    assert!(!again.err().contains("start steps"), "{again}");
    // The step itself, and who uses it, is all right.
    let _ = env.reimage(["build", "-q", "steps.keys"]).expect(0);
}

#[test]
fn wherever_it_goes() {
    let steps = format!(
        r#"    keys | re.Run = {{ from = root, {MAKE}, entropy = 'fixed, outputs = ["/etc/ssl"] }},
    moved | re.Copy = {{ from = keys, path = "/etc/ssl/key", to = "/srv/k" }},
    gone | re.Run = {{ from = [root, moved], script = "rm /srv/k" }},"#
    );
    let build = |layers: &str| env(&steps, layers).reimage(["build", "-q", "images.web"]);
    let moved = build("[steps.root, steps.moved]").expect(1).err();
    assert!(moved.contains("a secret that step `steps.keys` made: `/srv/k`"), "{moved}");
    let gone = build("[steps.root, steps.moved, steps.gone]").expect(1).err();
    assert!(gone.contains("`/srv/k`"), "a lower layer holds it: {gone}");
    // What is only used is not published.
    let used = format!(
        "{steps}\n    signed | re.Run = {{ from = root, inputs.\"/k\" = moved, script = \"cat /k/srv/k | tr a-f A-F > /signed\" }},"
    );
    let _ = env(&used, "[steps.root, steps.signed]").reimage(["build", "-q", "images.web"]).expect(0);
}

#[test]
fn what_is_no_secret_of_a_step() {
    let build = |fields: &str| {
        let env = env(&format!("    step | re.Run = {{ from = root, {fields} }},"), "[steps.root, steps.step]");
        env.file("root/usr/share/doc/example.key", "-----BEGIN PRIVATE KEY-----\nold\n-----END PRIVATE KEY-----\n");
        env.reimage(["build", "images.web"]).expect(0).err()
    };
    // Copied, and written down: looked at once more, and let pass.
    let copied = build("script = \"cp /usr/share/doc/example.key /copy\", entropy = 'fixed");
    assert_eq!(copied.matches("start steps.step").count(), 2, "{copied}");
    let written = build("script = \"echo 0123456789abcdef0123456789abcdef > /etc/machine-id\", entropy = 'fixed");
    assert_eq!(written.matches("start steps.step").count(), 2, "{written}");
    // Left out, taken away, and made each time anew: not looked at.
    for fields in [
        format!("{MAKE}, entropy = 'fixed, exclude = [\"/etc/ssl/key\"]"),
        format!("{}; rm /etc/ssl/key\", entropy = 'fixed", MAKE.trim_end_matches('"')),
        format!("{MAKE}, entropy = 'real"),
    ] {
        let said = build(&fields);
        assert_eq!(said.matches("start steps.step").count(), 1, "{fields}: {said}");
    }
}

#[test]
fn the_identity_of_a_machine() {
    let script = "od -An -v -tx1 -N16 /dev/urandom | tr -d ' ' > /etc/machine-id";
    let env = env(
        &format!("    step | re.Run = {{ from = root, script = \"{script}\", entropy = 'fixed }},"),
        "[steps.root, steps.step]",
    );
    let ran = env.reimage(["build", "-q", "images.web"]).expect(1);
    assert!(ran.err().contains("a secret that step `steps.step` made: `/etc/machine-id`"), "{ran}");
}
