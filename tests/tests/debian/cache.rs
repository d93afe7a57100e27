//! What is fetched once, what needs no network, and downloads that break

use reimage_tests::{Deb, Mirror, TestEnv};

const DATE: &str = "Date: Wed, 01 Nov 2023 00:00:00 UTC";

fn spec(names: &str) -> String {
    format!(
        r#"let re = import "reimage.ncl" in
{{
  steps = {{
    root | re.Debian = {{ suite = "unstable", packages = [{names}], scripts = 'skip }},
  }},
}} | re.Spec
"#
    )
}

#[test]
fn what_was_seen_is_locked_and_built_without_a_network() {
    let (mirror, env) = (Mirror::new(1), TestEnv::new());
    mirror.publish("unstable", DATE, vec![Deb::new("app", "1"), Deb::new("tool", "1")]);
    mirror.use_in(&env);
    env.file("spec.ncl", spec(r#""app""#));
    let built = env.reimage(["build", "steps.root"]).expect(0).out();
    let locked = env.read("reimage.lock");
    assert_eq!(mirror.asked().len(), 3, "the release, its index, the package");

    let _ = env.reimage(["lock"]).expect(0);
    assert_eq!(mirror.asked(), []);

    fs_err::remove_file(env.path("reimage.lock")).expect("it is there");
    let _ = env.reimage(["lock", "--offline"]).expect(0);
    assert_eq!(env.read("reimage.lock"), locked);
    assert_eq!(env.reimage(["build", "--offline", "steps.root"]).expect(0).out(), built);
    assert_eq!(mirror.asked(), []);

    env.file("spec.ncl", spec(r#""app", "tool""#));
    let _ = env.reimage(["lock"]).expect(0);
    let asked = mirror.asked();
    assert_eq!(asked, [("/dists/unstable/InRelease".to_owned(), 0)], "the index is here");
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let (mirror, env) = (Mirror::new(1), TestEnv::new());
    let many: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let app = Deb::new("app", "1").file("usr/share/many", 0o644, (0, 0), &many);
    mirror.publish("unstable", DATE, vec![app]).use_in(&env);
    env.file("spec.ncl", spec(r#""app""#));
    let _ = env.reimage(["lock"]).expect(0);
    let _ = mirror.asked();
    mirror.break_after("pool/", 500_000);
    let _ = env.reimage(["build", "steps.root"]).expect(0);
    let from: Vec<_> = mirror.asked().into_iter().map(|(_, from)| from).collect();
    assert_eq!(from, [0, 500_000, 1_000_000]);
}

#[test]
fn eight_downloads_at_a_time() {
    let (mirror, env) = (Mirror::new(1), TestEnv::new());
    let name = |number: u32| format!("p{number}");
    mirror.publish("unstable", DATE, (0..20).map(|n| Deb::new(&name(n), "1")).collect());
    mirror.use_in(&env);
    let packages = |from: u32| {
        let names = (from..from + 10).map(|n| format!("\"{}\"", name(n))).collect::<Vec<_>>();
        format!(
            "re.Debian = {{ suite = \"unstable\", packages = [{}], scripts = 'skip }}",
            names.join(", ")
        )
    };
    env.file(
        "spec.ncl",
        format!(
            "let re = import \"reimage.ncl\" in\n{{ steps = {{ one | {}, two | {} }} }} | re.Spec\n",
            packages(0),
            packages(10)
        ),
    );
    let _ = env.reimage(["lock"]).expect(0);
    mirror.gather(8);
    // On one processor as on many, and for two steps as for one.
    let mut command = env.command();
    command.args(["build", "--jobs", "2", "steps.one", "steps.two"]);
    let mut pinned = std::process::Command::new("taskset");
    pinned.args(["--cpu-list", "0"]).arg(command.get_program()).args(command.get_args());
    pinned.env_clear().current_dir(env.path(""));
    pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let _ = env.run(&mut pinned).expect(0);
    assert_eq!(mirror.gathered(), 8);
}
