//! What the documentation shows is what happens.
//!
//! A `console` block is a session: what follows `$ ` is run by a shell, the lines below are what it prints, `…` standing
//! for anything within a line and a line `...` for any lines. Blocks of one page go on where the last one ended.

mod recipes;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use reimage_tests::{Closed, DockerRegistry, Ran, TestEnv, binary};

/// What pages call a registry of one's own.
const REGISTRY: &str = "registry.example";

/// A command of a session and the lines that it prints.
struct Entry {
    command: String,
    prints: Vec<String>,
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs_err::read_to_string(path).expect("the page is there")
}

/// The blocks of a language in a page.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    let ends = page.split(begin.as_str()).skip(1);
    ends.map(|rest| rest.split("```").next().expect("a block ends")).collect()
}

fn session(page: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in blocks(page, "console").into_iter().flat_map(str::lines) {
        match (line.strip_prefix("$ "), entries.last_mut()) {
            (Some(command), _) => {
                entries.push(Entry { command: command.to_owned(), prints: Vec::new() });
            }
            (None, Some(entry)) => entry.prints.push(line.to_owned()),
            (None, None) => panic!("a session begins with a command, not with `{line}`"),
        }
    }
    entries
}

/// Whether `line` is what `shown` says it is.
fn like(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut open = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        open = part.is_empty();
    }
    open || rest.is_empty()
}

/// Whether lines are what is shown of them.
fn all_like(shown: &[String], lines: &[&str]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, more)), _) if first == "..." => {
            (0..=lines.len()).any(|skipped| all_like(more, &lines[skipped..]))
        }
        (Some((first, more)), Some((line, rest))) => like(first, line) && all_like(more, rest),
        _ => false,
    }
}

/// Runs a line in the directory `at`, with `reimage` found as a user finds it.
fn shell(env: &TestEnv, at: &Path, line: &str) -> Ran {
    let template = env.command();
    let mut command = Command::new("sh");
    // What is printed first comes first, wherever it goes.
    command.arg("-c").arg(format!("exec 2>&1; {line}")).current_dir(at).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let programs = binary().parent().and_then(Path::to_str).expect("it lies in a directory");
    command.env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin"));
    env.run(&mut command)
}

fn play(env: &TestEnv, page: &str) {
    let mut at: PathBuf = env.path("");
    let entries = session(page);
    assert!(!entries.is_empty(), "a page without a session");
    for Entry { command, prints } in entries {
        if let Some(directory) = command.strip_prefix("cd ") {
            at.push(directory);
            continue;
        }
        let ran = shell(env, &at, &command);
        let out = ran.out();
        let lines: Vec<_> = out.lines().collect();
        let shown = prints.join("\n");
        assert!(all_like(&prints, &lines), "$ {command}\n{out}\n\nthe page shows\n{shown}");
    }
}

#[test]
fn lines_are_like_what_is_shown() {
    assert!(like("a … c", "a b c") && like("a …", "a b") && like("a", "a") && like("…", ""));
    assert!(!like("a … c", "a b d") && !like("a", "ab") && !like("b…", "ab"));
    let shown = ["a", "...", "c"].map(str::to_owned);
    assert!(all_like(&shown, &["a", "c"]) && all_like(&shown, &["a", "b", "b", "c"]));
    assert!(!all_like(&shown, &["a", "b"]) && !all_like(&shown, &["a", "c", "d"]));
}

#[test]
fn the_first_spec_of_the_readme() {
    let readme = page("README.md");
    let specs = blocks(&readme, "nickel");
    assert_eq!(specs.len(), 1);
    let env = TestEnv::new();
    env.file("spec.ncl", specs[0]).file("app/main.py", "app = None\n");
    let graph = env.reimage(["graph"]).expect(0).out();
    assert!(graph.starts_with("images.web (image web:1.0)"), "{graph}");
}

/// Takes packages from the mirrors that this machine's apt uses.
#[test]
fn the_tour_of_the_readme() {
    let env = TestEnv::new();
    // As on a reader's machine, the directory of the tour is a project of its own.
    fs_err::remove_dir(env.path(".git")).expect("it is empty");
    play(&env, &page("README.md"));
}

#[expect(clippy::disallowed_methods, reason = "pages are independent of each other")]
#[test]
fn the_sessions_of_the_other_pages() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for entry in fs_err::read_dir(docs).expect("the pages") {
        let text = fs_err::read_to_string(entry.expect("readable").path()).expect("a page");
        if blocks(&text, "console").is_empty() {
            continue;
        }
        if text.contains(REGISTRY) {
            let registry = DockerRegistry::new(Closed { password: true, ..Closed::default() });
            let line = |line: &str| {
                let shown =
                    if line.starts_with("$ ") { &registry.host() } else { "127.0.0.1:[PORT]" };
                line.replace(REGISTRY, shown)
            };
            let text: Vec<_> = text.lines().map(line).collect();
            play(&TestEnv::new(), &text.join("\n"));
        } else {
            play(&TestEnv::new(), &text);
        }
    }
}
