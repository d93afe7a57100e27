//! Configuration of an image: what runs, as whom, where, and how it comes down from the image below.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

mod form;

/// A configuration that no engine would take.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// The name of a variable is empty or holds `=` or NUL.
    #[error("`env`: `{name}` cannot be the name of a variable")]
    Variable {
        /// The name.
        name: String,
    },
    /// A port that is none.
    #[error("`expose`: `{port}` is no port: write 8000, or \"53/udp\"")]
    Port {
        /// What was written.
        port: String,
    },
    /// A path that is not absolute.
    #[error("`{field}`: `{path}` is not an absolute path")]
    Path {
        /// The field.
        field: &'static str,
        /// The path.
        path: String,
    },
    /// A health check that checks nothing.
    #[error("`healthcheck` has no `cmd`, and none is inherited")]
    Healthcheck,
    /// A string with a NUL byte in it.
    #[error("`{field}` holds a NUL byte")]
    Nul {
        /// The field.
        field: &'static str,
    },
}

/// The whole configuration of an image; what is empty or none is not written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// `NAME`, `UID` or `UID:GID` to run as.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "form::text")]
    pub user: Option<String>,
    /// Ports: `8000/tcp`.
    #[serde(
        rename = "ExposedPorts",
        with = "form::keys",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub expose: BTreeSet<String>,
    /// Environment, written sorted by name.
    #[serde(with = "form::env", skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What runs, before `cmd`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "form::list")]
    pub entrypoint: Option<Vec<String>>,
    /// What runs, or arguments of `entrypoint`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "form::list")]
    pub cmd: Option<Vec<String>>,
    /// Paths that engines put volumes on.
    #[serde(with = "form::keys", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Directory to run in.
    #[serde(
        rename = "WorkingDir",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "form::text"
    )]
    pub workdir: Option<String>,
    /// Labels.
    #[serde(deserialize_with = "form::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that ends the container.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "form::text")]
    pub stop_signal: Option<String>,
    /// Docker's health check, which OCI does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker's shell for strings, which OCI does not have.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "form::list")]
    pub shell: Option<Vec<String>>,
    /// Who made it; stands beside the configuration, not in it.
    #[serde(skip)]
    pub author: Option<String>,
}

/// A command that tells whether the container is well; times are nanoseconds, as docker writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `CMD` and the command, `CMD-SHELL` and a line, or `NONE`.
    #[serde(deserialize_with = "form::or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
    /// Of one check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// In which failures do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<u64>,
    /// Between two checks during `start_period`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<u64>,
    /// Failures until unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// What an image says itself; what is none is inherited (spec language §5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnConfig {
    /// Replaces; drops an inherited `cmd`.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces.
    pub cmd: Option<Vec<String>>,
    /// By name; none takes an inherited one away.
    pub env: BTreeMap<String, Option<String>>,
    /// By name; none takes an inherited one away.
    pub labels: BTreeMap<String, Option<String>>,
    /// Replaces.
    pub workdir: Option<String>,
    /// Replaces.
    pub user: Option<String>,
    /// Added: `8000`, `8000/tcp`, `53/udp`.
    pub expose: Vec<String>,
    /// Added.
    pub volumes: Vec<String>,
    /// Replaces.
    pub stop_signal: Option<String>,
    /// Replaces.
    pub shell: Option<Vec<String>>,
    /// Replaces.
    pub author: Option<String>,
    /// By field.
    pub healthcheck: Option<OwnHealthcheck>,
}

/// What an image says of its health check itself; times are nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnHealthcheck {
    /// Exits 0 when healthy.
    pub cmd: Option<Vec<String>>,
    /// Between two checks.
    pub interval: Option<u64>,
    /// Of one check.
    pub timeout: Option<u64>,
    /// In which failures do not count.
    pub start_period: Option<u64>,
    /// Between two checks during `start_period`.
    pub start_interval: Option<u64>,
    /// Failures until unhealthy.
    pub retries: Option<u32>,
    /// Takes an inherited one away.
    pub disable: bool,
}

impl Config {
    /// `own` over `base`: records by name, `expose` and `volumes` added, the rest replaced; setting
    /// `entrypoint` drops an inherited `cmd`. An empty list is as none.
    pub fn inherit(base: &Self, own: &OwnConfig) -> Result<Self, ConfigError> {
        let mut config = base.clone();
        let list = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
        if own.entrypoint.is_some() {
            config.entrypoint = list(&own.entrypoint);
            config.cmd = None;
        }
        if own.cmd.is_some() {
            config.cmd = list(&own.cmd);
        }
        if own.shell.is_some() {
            config.shell = list(&own.shell);
        }
        let replace = |field: &mut Option<String>, own: &Option<String>| {
            if own.is_some() {
                field.clone_from(own);
            }
        };
        replace(&mut config.workdir, &own.workdir);
        replace(&mut config.user, &own.user);
        replace(&mut config.stop_signal, &own.stop_signal);
        replace(&mut config.author, &own.author);
        merge(&mut config.env, &own.env);
        merge(&mut config.labels, &own.labels);
        for written in &own.expose {
            config.expose.insert(port(written)?);
        }
        config.volumes.extend(own.volumes.iter().cloned());
        if let Some(own) = &own.healthcheck {
            config.healthcheck = healthcheck(config.healthcheck.take(), own)?;
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let no_name = |name: &str| name.is_empty() || name.contains(['=', '\0']);
        if let Some(name) = self.env.keys().find(|name| no_name(name)) {
            return Err(ConfigError::Variable { name: name.clone() });
        }
        if self.env.values().any(|value| value.contains('\0')) {
            return Err(ConfigError::Nul { field: "env" });
        }
        for (field, list) in [("entrypoint", &self.entrypoint), ("cmd", &self.cmd)] {
            if list.iter().flatten().any(|word| word.contains('\0')) {
                return Err(ConfigError::Nul { field });
            }
        }
        let workdir = self.workdir.iter().map(|path| ("workdir", path));
        let mut paths = workdir.chain(self.volumes.iter().map(|path| ("volumes", path)));
        match paths.find(|(_, path)| !path.starts_with('/') || path.contains('\0')) {
            Some((field, path)) => Err(ConfigError::Path { field, path: path.clone() }),
            None => Ok(()),
        }
    }
}

fn merge(inherited: &mut BTreeMap<String, String>, own: &BTreeMap<String, Option<String>>) {
    for (name, value) in own {
        match value {
            Some(value) => inherited.insert(name.clone(), value.clone()),
            None => inherited.remove(name),
        };
    }
}

/// `8000` as `8000/tcp`, `53/udp` as it is.
fn port(written: &str) -> Result<String, ConfigError> {
    let error = || ConfigError::Port { port: written.into() };
    let (number, protocol) = written.split_once('/').unwrap_or((written, "tcp"));
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    let number: u16 = number.parse().map_err(|_| error())?;
    if !digits || number == 0 || !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err(error());
    }
    Ok(format!("{number}/{protocol}"))
}

fn healthcheck(
    base: Option<Healthcheck>,
    own: &OwnHealthcheck,
) -> Result<Option<Healthcheck>, ConfigError> {
    if own.disable {
        return Ok(None);
    }
    let mut merged = base.unwrap_or_default();
    if let Some(cmd) = own.cmd.as_ref().filter(|cmd| !cmd.is_empty()) {
        merged.test = ["CMD".to_owned()].into_iter().chain(cmd.iter().cloned()).collect();
    }
    merged.interval = own.interval.or(merged.interval);
    merged.timeout = own.timeout.or(merged.timeout);
    merged.start_period = own.start_period.or(merged.start_period);
    merged.start_interval = own.start_interval.or(merged.start_interval);
    merged.retries = own.retries.or(merged.retries);
    if merged.test.is_empty() {
        return Err(ConfigError::Healthcheck);
    }
    Ok(Some(merged))
}

#[cfg(test)]
mod tests;
