//! What cargo and deny.toml know of the dependencies.

use std::{collections::BTreeSet, path::Path, process::Command};

use serde::Deserialize;

/// The rules of deny.toml that can be held without a network.
pub(crate) struct Rules {
    /// Licences.
    pub(crate) allow: BTreeSet<String>,
    /// Crates with a licence of their own.
    pub(crate) exceptions: Vec<(String, String)>,
    /// Crates that must not be there.
    pub(crate) banned: BTreeSet<String>,
}

/// One package of the dependency tree.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) source: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

/// Reads deny.toml.
pub(crate) fn rules() -> Result<Rules, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deny.toml");
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("Cannot read deny.toml: {error}"))?;
    let deny: Deny = toml::from_str(&text).map_err(|error| format!("deny.toml: {error}"))?;
    let exceptions = deny.licenses.exceptions.into_iter();
    Ok(Rules {
        allow: deny.licenses.allow,
        exceptions: exceptions
            .flat_map(|e| e.allow.into_iter().map(move |l| (e.name.clone(), l)))
            .collect(),
        banned: deny.bans.deny.into_iter().map(|ban| ban.name).collect(),
    })
}

/// Asks cargo for all packages that are built on Linux.
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ];
    let output = Command::new("cargo").args(arguments).output();
    let output = output.map_err(|error| format!("Cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(metadata.packages)
}
