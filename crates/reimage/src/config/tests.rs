//! Layers of configuration, and errors that point at the line.

use super::*;

fn load(user: &str, flags: &Flags<'_>) -> Result<Config, CommandError> {
    let home = tempfile::tempdir().expect("a directory");
    let directory = home.path().join("reimage");
    fs_err::create_dir_all(&directory).expect("a directory");
    fs_err::write(directory.join("config.toml"), user).expect("a file");
    let xdg = home.path().to_str().expect("UTF-8");
    let machine = Machine::with(Path::new("/work"), &[("HOME", "/h"), ("XDG_CONFIG_HOME", xdg)]);
    Config::load(&machine, flags)
}

#[test]
fn defaults() {
    let config = load("", &Flags::default()).expect("nothing to complain about");
    assert_eq!(config.store, Sourced::default_of(PathBuf::from("/h/.cache/reimage")));
    assert_eq!(config.jobs, Sourced::default_of(2));
    assert_eq!(config.ids.value, Ids::Auto);
}

#[test]
fn a_file_goes_over_defaults_and_flags_over_it() {
    let text = "[store]\npath = \"/s\"\n[build]\njobs = 7\n[debian]\nmirrors = [\"http://m\"]\nkeyrings = [\"k.gpg\"]\n";
    let config = load(text, &Flags::default()).expect("good");
    assert_eq!(config.store.value, PathBuf::from("/s"));
    assert_eq!(config.jobs.value, 7);
    assert!(
        matches!(&config.jobs.origin, Origin::File(path) if path.ends_with("reimage/config.toml"))
    );
    assert!(config.keyrings.value[0].ends_with("reimage/k.gpg"), "beside the file");
    assert!(config.keyrings.value[0].is_absolute());

    let flags = Flags { store: Some(Path::new("here")), jobs: Some(3), ..Flags::default() };
    let config = load(text, &flags).expect("good");
    assert_eq!(config.store.value, PathBuf::from("/work/here"));
    assert_eq!(config.jobs, Sourced { value: 3, origin: Origin::Flag("--jobs") });
    assert_eq!(config.mirrors.value, ["http://m"]);
}

#[test]
fn the_user_s_file_goes_over_the_machine_s_key_by_key() {
    let home = tempfile::tempdir().expect("a directory");
    let write = |directory: &str, text: &str| {
        let directory = home.path().join(directory).join("reimage");
        fs_err::create_dir_all(&directory).expect("a directory");
        fs_err::write(directory.join("config.toml"), text).expect("a file");
        directory.join("config.toml")
    };
    let system = write(
        "etc",
        "[build]\njobs = 7\n[debian]\nmirrors = [\"http://a\", \"http://b\"]\n\
         [http.mirrors]\n\"https://x/\" = [\"http://m/x\"]\n\"https://y/\" = [\"http://m/y\"]\n",
    );
    let user = write(
        "config",
        "[debian]\nmirrors = [\"http://c\"]\n[http.mirrors]\n\"https://y/\" = []\n",
    );
    let xdg = home.path().join("config");
    let xdg = xdg.to_str().expect("UTF-8");
    let machine = Machine::with(home.path(), &[("HOME", "/h"), ("XDG_CONFIG_HOME", xdg)]);
    let config = Config::load(&machine, &Flags::default()).expect("good");
    let file = |path: &Path| Origin::File(path.to_owned());
    assert_eq!(config.jobs, Sourced { value: 7, origin: file(&system) });
    let list = |urls: &[&str], path: &Path| Sourced {
        value: urls.iter().map(|&url| url.to_owned()).collect(),
        origin: file(path),
    };
    assert_eq!(config.mirrors, list(&["http://c"], &user));
    assert_eq!(config.http_mirrors["https://x/"], list(&["http://m/x"], &system));
    assert_eq!(config.http_mirrors["https://y/"], list(&[], &user));
}

#[test]
fn without_a_home_only_the_store_is_needed() {
    let machine = Machine::with(Path::new("/work"), &[]);
    assert!(Config::load(&machine, &Flags::default()).is_err());
    let flags = Flags { store: Some(Path::new("s")), ..Flags::default() };
    let config = Config::load(&machine, &flags).expect("the store is named");
    assert_eq!(config.store.value, PathBuf::from("/work/s"));
}

#[test]
fn the_example_of_the_docs_is_one() {
    let page = include_str!("../../../../docs/configuration.md");
    let (_, rest) = page.split_once("```toml\n").expect("it has an example");
    let (example, _) = rest.split_once("```").expect("it ends");
    let file = File::parse(example, Path::new("c.toml")).expect("it is good");
    assert_eq!(file.http.mirrors.len(), 2);
}

#[track_caller]
fn refused(text: &str) -> (String, Vec<String>) {
    let error = File::parse(text, Path::new("c.toml")).map(drop).expect_err("it is wrong");
    assert_eq!(error.kind, crate::error::Kind::Usage);
    (error.to_string(), error.hints)
}

#[test]
fn mistakes_point_at_the_line() {
    let (message, hints) = refused("[debian]\nmirors = []\n");
    assert!(
        message.starts_with("c.toml:2:1: unknown field `mirors`, expected one of `mirrors`"),
        "{message}"
    );
    assert_eq!(hints[0], "did you mean `mirrors`?");

    let (message, hints) = refused("[debain]\n");
    assert!(message.starts_with("c.toml:1:2: unknown field `debain`"), "{message}");
    assert_eq!(hints[0], "did you mean `debian`?");

    for (text, start) in [
        ("[build]\njobs = 0\n", "c.toml:2:8: "),
        ("[build]\njobs = \"4\"\n", "c.toml:2:8: "),
        ("[sandbox]\nids = \"root\"\n", "c.toml:2:7: unknown variant `root`"),
        ("[store\n", "c.toml:1:7: "),
        (
            "[http.mirrors]\n\"https://x\" = []\n",
            "c.toml:2:1: `https://x` is not the beginning of URLs",
        ),
        ("[store]\npath = \"a\"\npath = \"b\"\n", "c.toml:3:1: duplicate key"),
    ] {
        let (message, _) = refused(text);
        assert!(message.starts_with(start), "{message}");
    }
}
