//! The recipes of docs/ci.md: their commands, run as each system would, with a registry and a directory of this machine.

use std::{collections::BTreeMap, path::Path, process::Command};

use reimage_tests::{Closed, DockerRegistry, Ran, TestEnv, binary};
use serde_yaml::Value;

use crate::{blocks, page};

const SPEC: &str = r#"let re = import "reimage.ncl" in
{
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    app | re.Run = { from = root, script = "cat /etc/name > /app" },
  },
  images.app | re.Image = { layers = [steps.app], cmd = ["/app"] },
} | re.Spec
"#;

/// What the step of a build says when it ran.
const RAN: &str = "done steps.app";

type Variables = BTreeMap<String, String>;

fn variables<'a>(all: impl IntoIterator<Item = (&'a str, String)>) -> Variables {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The recipes, parsed: GitLab's, GitHub's, its steps without a registry, Kubernetes'.
fn recipes() -> [Value; 4] {
    let page = page("docs/ci.md");
    let parse = |text| serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let recipes: Vec<Value> = blocks(&page, "yaml").into_iter().map(parse).collect();
    recipes.try_into().expect("four recipes")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is no text"))
}

fn list(value: &Value) -> &[Value] {
    value.as_sequence().unwrap_or_else(|| panic!("{value:?} is no list"))
}

/// A runner with a checkout of the project: nothing in its home but what the runner itself put there.
struct Runner(TestEnv);

impl Runner {
    fn new() -> Self {
        let env = TestEnv::new();
        env.programs(&["sh", "cat"]).file("root/etc/name", "app\n").file("spec.ncl", SPEC);
        Self(env)
    }

    /// The one that makes the keys, as the page says.
    fn owner() -> Self {
        let owner = Self::new();
        let page = page("docs/ci.md");
        let keygen = blocks(&page, "sh")[0];
        let _ = owner.run(keygen, &Variables::new()).expect(0);
        owner
    }

    /// One that has the public key in its checkout.
    fn with_key_of(owner: &Self) -> Self {
        let runner = Self::new();
        runner.0.file("ci.key.pub", owner.0.read("ci.key.pub"));
        runner
    }

    /// What was built, once a run is over: it is told apart by nothing but its digest.
    fn run(&self, script: &str, variables: &Variables) -> Ran {
        let template = self.0.command();
        let mut command = Command::new("bash");
        command.args(["-eo", "pipefail", "-c", script]).current_dir(self.0.path("")).env_clear();
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let programs = binary().parent().and_then(Path::to_str).expect("it lies in a directory");
        command.env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin")).envs(variables);
        self.0.run(&mut command)
    }
}

/// Whether a script could write to the cache.
fn writes(script: &str) -> bool {
    ["cache-write", "cache-key", "KEY"].iter().any(|word| script.contains(word))
}

/// The image's line.
fn image(ran: &Ran) -> String {
    let out = ran.out();
    let line = out.lines().find(|line| line.starts_with("images.app sha256:"));
    line.unwrap_or_else(|| panic!("{ran}")).to_owned()
}

/// What is built by who may write is taken by who only reads.
fn assert_shared(made: &Ran, taken: &Ran) {
    assert!(made.err().contains(RAN), "{made}");
    assert!(!taken.err().contains(RAN), "{taken}");
    assert_eq!(image(made), image(taken));
}

#[test]
fn of_gitlab() {
    let [recipe, ..] = recipes();
    let registry = DockerRegistry::new(Closed { password: true, ..Closed::default() });
    let host = registry.host();
    let owner = Runner::owner();
    let given = variables([
        ("CI_REGISTRY", host.clone()),
        ("CI_REGISTRY_IMAGE", format!("{host}/team/app")),
        ("CI_REGISTRY_USER", "ci".to_owned()),
        ("CI_REGISTRY_PASSWORD", "secret".to_owned()),
    ]);
    let script = |job: &str| {
        let mut lines: Vec<_> = recipe["variables"].as_mapping().expect("a map").iter().collect();
        let mut script: Vec<_> =
            lines.drain(..).map(|(n, v)| format!("export {}=\"{}\"", text(n), text(v))).collect();
        let parts = [&recipe["default"]["before_script"], &recipe[job]["script"]];
        script.extend(parts.into_iter().flat_map(list).map(|line| text(line).to_owned()));
        script.join("\n")
    };
    let rule = |job: &str| text(&recipe[job]["rules"][0]["if"]).to_owned();
    assert_eq!(rule("build"), "$CI_COMMIT_REF_PROTECTED == \"true\"");
    assert_eq!(rule("check"), "$CI_PIPELINE_SOURCE == \"merge_request_event\"");
    assert!(writes(&script("build")) && !writes(&script("check")));
    // The variable that only protected branches have is a file.
    let key = owner.0.path("ci.key").to_str().expect("plain").to_owned();
    let mut protected = given.clone();
    protected.insert("CI_KEY".to_owned(), key);
    let made = owner.run(&script("build"), &protected).expect(0);
    let taken = Runner::with_key_of(&owner).run(&script("check"), &given).expect(0);
    assert_shared(&made, &taken);
}

/// What GitHub makes of a text with `${{ .. }}` in it.
fn expressions(text: &str, values: &Variables) -> String {
    let mut parts = text.split("${{ ");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (expression, rest) = part.split_once(" }}").expect("an expression ends");
        all += values.get(expression).unwrap_or_else(|| panic!("`{expression}` is not known"));
        all += rest;
    }
    all
}

/// The scripts of a job's steps for an event, each with its environment; `cache` stands in for the job's own.
fn steps(job: &Value, event: &str, values: &Variables, cache: &str) -> Vec<(String, Variables)> {
    let mut scripts = Vec::new();
    for step in list(&job["steps"]) {
        let for_this = |condition| condition == format!("github.event_name == '{event}'");
        let Some(run) = step["run"].as_str() else { continue };
        if step["if"].as_str().is_some_and(|condition| !for_this(condition)) {
            continue;
        }
        // The machine's own setting, which is no command of ours.
        if run.starts_with("sudo sysctl") {
            continue;
        }
        let mut env = variables([("CACHE", cache.to_owned())]);
        for (name, value) in step["env"].as_mapping().into_iter().flatten() {
            env.insert(text(name).to_owned(), expressions(text(value), values));
        }
        scripts.push((expressions(run, values), env));
    }
    scripts
}

#[test]
fn of_github() {
    let [_, recipe, without, _] = recipes();
    let registry = DockerRegistry::new(Closed { password: true, ..Closed::default() });
    let host = registry.host();
    let job = &recipe["jobs"]["build"];
    let owner = Runner::owner();
    let values = variables([
        ("github.repository", "team/app".to_owned()),
        ("github.actor", "ci".to_owned()),
        ("github.sha", "0123".to_owned()),
        ("secrets.GITHUB_TOKEN", "secret".to_owned()),
        ("secrets.REIMAGE_KEY", owner.0.read("ci.key").trim_end().to_owned()),
    ]);
    let cache = expressions(text(&job["env"]["CACHE"]), &values).replace("ghcr.io", &host);
    let all = |runner: &Runner, event: &str, cache: &str, login: bool| -> Ran {
        let mut last = None;
        for (script, env) in steps(job, event, &values, cache) {
            if login || !script.contains("reimage login") {
                let script = script.replace("ghcr.io", &host);
                last = Some(runner.run(&script, &env).expect(0));
            }
        }
        last.expect("a step that builds")
    };
    let read = steps(job, "pull_request", &values, &cache);
    let key = &values["secrets.REIMAGE_KEY"];
    assert!(read.iter().all(|(script, env)| !writes(script) && !env.values().any(|v| v == key)));
    fs_err::remove_file(owner.0.path("ci.key")).expect("it is a secret of the system now");
    let made = all(&owner, "push", &cache, true);
    let taken = all(&Runner::with_key_of(&owner), "pull_request", &cache, true);
    assert_shared(&made, &taken);
    // Without a registry: a directory that is saved at the end of a run and restored at the beginning of another.
    let runs: Vec<_> = list(&without).iter().filter_map(|step| step["run"].as_str()).collect();
    let [before, after] = runs[..] else { panic!("{runs:?}") };
    let with = &without[0]["with"];
    assert!(text(&with["path"]) == "~/cache" && text(&with["key"]) == "reimage-${{ github.sha }}");
    let (first, second) = (Runner::with_key_of(&owner), Runner::with_key_of(&owner));
    let url = |runner: &Runner| format!("file://{}/cache", runner.0.root().join("home").display());
    let none = Variables::new();
    let _ = first.run(before, &none).expect(0);
    let made = all(&first, "push", &url(&first), false);
    let _ = first.run(after, &none).expect(0);
    let copy = format!("cp -r {}/home/cache ~", first.0.root().display());
    let _ = second.run(&copy, &none).expect(0);
    let _ = second.run(before, &none).expect(0);
    let taken = all(&second, "pull_request", &url(&second), false);
    assert_shared(&made, &taken);
}

#[test]
fn of_kubernetes() {
    let [.., recipe] = recipes();
    let container = &recipe["spec"]["containers"][0];
    let command: Vec<_> = list(&container["command"]).iter().map(text).collect();
    let script = command.join(" ");
    let mounted: Vec<_> =
        list(&container["volumeMounts"]).iter().map(|mount| text(&mount["mountPath"])).collect();
    assert_eq!(mounted, ["/cache", "/etc/reimage"]);
    assert_eq!(recipe["spec"]["hostUsers"], Value::Bool(false));
    assert_eq!(text(&container["securityContext"]["procMount"]), "Unmasked");
    let owner = Runner::owner();
    let (key, none) = (owner.0.path("ci.key").display().to_string(), Variables::new());
    let registry = DockerRegistry::new(Closed { password: true, ..Closed::default() });
    let host = registry.host();
    let volume = owner.0.root().join("volume");
    fs_err::create_dir(&volume).expect("it is new");
    // The secret that is mounted as a file.
    let auths = format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"Y2k6c2VjcmV0\"}}}}}}");
    owner.0.file("auth/.dockerconfigjson", auths);
    let file = owner.0.path("auth/.dockerconfigjson").display().to_string();
    let with_file = variables([("REGISTRY_AUTH_FILE", file)]);
    for (url, variables) in [
        (format!("file://{}", volume.display()), &none),
        (format!("oci://{host}/team/cache"), &with_file),
    ] {
        let (maker, reader) = (Runner::new(), Runner::new());
        maker.0.config(&format!("[cache]\nwrite = [\"{url}\"]\nkey = \"{key}\"\n"));
        reader.0.config(&format!("[cache]\nurls = [\"{url}\"]\ntrust = [\"{key}.pub\"]\n"));
        let made = maker.run(&script, variables).expect(0);
        assert_shared(&made, &reader.run(&script, variables).expect(0));
    }
}
