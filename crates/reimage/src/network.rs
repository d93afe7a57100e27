//! How this machine reaches servers: proxies, certificates, registries and who we are to them.

use std::path::PathBuf;

use reimage_http::{HttpConfig, Proxies};
use reimage_registry::{Credentials, Registry, RegistryConfig};

use crate::{app::App, config::Config, error::CommandError, machine::Machine};

/// Connections as this machine makes them.
pub(crate) fn http(machine: &Machine, offline: bool) -> HttpConfig {
    let variable = |names: &[&str]| {
        let value = names.iter().find_map(|name| machine.variable(name))?;
        Some(value.to_string_lossy().into_owned())
    };
    let no_proxy = variable(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
    let proxies = Proxies {
        // Not HTTP_PROXY: a CGI script gets one from whoever calls it.
        http: variable(&["http_proxy"]),
        https: variable(&["https_proxy", "HTTPS_PROXY"]),
        none: no_proxy
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    let user = machine.xdg("XDG_CONFIG_HOME", ".config").ok();
    let places = user.into_iter().chain([machine.etc.clone()]);
    let certs = places.flat_map(|place| {
        ["containers", "docker"].map(|program| place.join(program).join("certs.d"))
    });
    HttpConfig {
        offline,
        proxies,
        seed: std::process::id().into(),
        certs: certs.collect(),
        ..HttpConfig::default()
    }
}

/// Where credentials for registries lie: where `REGISTRY_AUTH_FILE` says, else where docker and podman have them.
pub(crate) fn credentials(machine: &Machine) -> Credentials {
    let named = |variable: &str| machine.variable(variable).map(PathBuf::from);
    if let Some(file) = named("REGISTRY_AUTH_FILE") {
        return Credentials { files: vec![machine.absolute(&file)] };
    }
    let home = named("HOME").filter(|home| home.is_absolute());
    let docker = named("DOCKER_CONFIG").map(|directory| machine.absolute(&directory));
    let docker = docker.or(home.map(|home| home.join(".docker")));
    let podman = [named("XDG_RUNTIME_DIR"), machine.xdg("XDG_CONFIG_HOME", ".config").ok()];
    let podman = podman.into_iter().flatten().map(|dir| dir.join("containers/auth.json"));
    let files = docker.map(|directory| directory.join("config.json")).into_iter().chain(podman);
    Credentials { files: files.collect() }
}

/// Where registries are, and who we are to them.
pub(crate) fn registries(machine: &Machine, config: &Config) -> RegistryConfig {
    let mirrors = config.registry_mirrors.iter();
    RegistryConfig {
        credentials: credentials(machine),
        mirrors: mirrors.map(|(name, mirrors)| (name.clone(), mirrors.value.clone())).collect(),
        insecure: config.insecure.value.clone(),
    }
}

/// Registries as this machine reaches them.
pub(crate) fn registry(app: &App, config: &Config) -> Result<Registry, CommandError> {
    Ok(Registry::new(http(&app.machine, false), registries(&app.machine, config))?)
}
