//! `reimage config`: the effective configuration, and where each value was said.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    app::App,
    cli::FormatArgs,
    config::{CacheFlags, Origin, SourceFlags, Sourced},
    error::CommandError,
};

/// Print the configuration of this machine, and where each value comes from
///
/// Read from /etc/reimage/config.toml, then `$XDG_CONFIG_HOME/reimage/config.toml`, then flags: each goes over the one
/// before. What is printed is valid TOML.
#[derive(Debug, Args)]
#[command(after_help = "\
Example of a config.toml:
  [store]
  path = \"/var/cache/reimage\"      # relative to the file
  [build]
  jobs = 4                          # most steps at the same time
  [http.mirrors]                    # tried before the URL itself
  \"https://example.org/\" = [\"https://mirror.example/files/\"]
  [registry]
  insecure = [\"registry.lan:5000\"]   # spoken to without encryption
  [registry.mirrors]                # asked before the registry itself
  \"docker.io\" = [\"mirror.example\"]
  [debian]
  mirrors = [\"http://mirror.example/debian\"]
  security_mirrors = [\"http://mirror.example/debian-security\"]
  keyrings = [\"keys/archive.gpg\"]   # relative to the file
  [sandbox]
  ids = \"auto\"                      # or \"notify\", \"newuidmap\"
  memory = \"2g\"                     # for what running steps write; beyond it, disk
  [cache]                           # docs/cache.md
  urls = [\"file:///mnt/cache\"]      # read in this order
  write = [\"file:///mnt/cache\"]     # and written
  trust = [\"keys/ci.pub\"]           # relative to the file; or \"server\"
  key = \"/etc/reimage/ci.key\"       # signs what is written
  wait = 300                        # seconds at the end for what is still to be sent")]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    sources: SourceFlags,
    #[command(flatten)]
    caches: CacheFlags,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &ConfigArgs, app: &App) -> Result<ExitCode, CommandError> {
    let config = app.config_with(None, &args.sources, &args.caches)?;
    let paths =
        |paths: &[_]| -> Vec<String> { paths.iter().map(text::<std::path::PathBuf>).collect() };
    let keyrings =
        Sourced { value: paths(&config.keyrings.value), origin: config.keyrings.origin.clone() };
    let store = Sourced { value: text(&config.store.value), origin: config.store.origin.clone() };
    let key = Sourced {
        value: config.cache.key.value.as_ref().map(text).unwrap_or_default(),
        origin: config.cache.key.origin.clone(),
    };
    let mut rows =
        vec![row("store.path", &store, ""), row("build.jobs", &config.jobs, "the processors")];
    let own = "each URL is fetched from where it says";
    rows.extend(table("http.mirrors", &config.http_mirrors, own));
    let own = "each registry is asked itself";
    rows.extend(table("registry.mirrors", &config.registry_mirrors, own));
    rows.push(row("registry.insecure", &config.insecure, "those on this machine"));
    rows.extend([
        row("debian.mirrors", &config.mirrors, "the machine's apt sources"),
        row("debian.security_mirrors", &config.security_mirrors, "the machine's apt sources"),
        row("debian.keyrings", &keyrings, "the machine's"),
        row("sandbox.ids", &config.ids, "what the machine offers"),
        row("sandbox.memory", &config.memory, "a quarter of what is free"),
        row("cache.urls", &config.cache.urls, ""),
        row("cache.write", &config.cache.write, ""),
        row("cache.trust", &config.cache.trust, "what the key signed"),
        row("cache.key", &key, ""),
        row("cache.wait", &config.cache.wait, ""),
    ]);
    if app.ui.json() {
        let object = rows.iter().map(|row| {
            (row.key.clone(), json!({ "value": row.value, "origin": row.origin.to_string() }))
        });
        app.ui.value(&object.collect::<serde_json::Map<_, _>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let setting = |row: &Row| format!("{} = {}", row.key, row.value);
    let width = rows.iter().map(|row| setting(row).chars().count()).max().unwrap_or(0);
    for row in &rows {
        let origin = match &row.origin {
            Origin::Default if row.default.is_empty() => "default".to_owned(),
            Origin::Default => format!("default: {}", row.default),
            origin => origin.to_string(),
        };
        let comment = app.ui.out.dim(&format!("# {origin}"));
        app.ui.line(format!("{:width$}   {comment}", setting(row)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One setting; numbers, strings and lists are written the same in TOML and in JSON.
struct Row {
    key: String,
    value: Value,
    origin: Origin,
    /// What the default means.
    default: &'static str,
}

/// A row for each key of a table, or one that says what its absence means.
fn table(
    name: &str,
    table: &BTreeMap<String, Sourced<Vec<String>>>,
    default: &'static str,
) -> Vec<Row> {
    if table.is_empty() {
        let none = Sourced { value: json!({}), origin: Origin::Default };
        return vec![row(name, &none, default)];
    }
    let key = |key: &String| format!("{name}.{}", Value::from(key.as_str()));
    table.iter().map(|(name, value)| row(&key(name), value, "")).collect()
}

fn row<T: Serialize>(key: &str, value: &Sourced<T>, default: &'static str) -> Row {
    let origin = value.origin.clone();
    let value = serde_json::to_value(&value.value).expect("settings are plain data");
    Row { key: key.to_owned(), value, origin, default }
}

fn text<P: AsRef<Path>>(path: &P) -> String {
    path.as_ref().to_string_lossy().into_owned()
}
