//! Images on their way to and from registries: what may go, what is shown, and what goes wrong.

use std::collections::BTreeMap;

use clap::Args;
use reimage_build::{DEGRADED, Event, platform};
use reimage_castore::Sha256;
use reimage_http::HttpError;
use reimage_oci::{Descriptor, Layout, LayoutError, Platform, Reference};
use reimage_registry::{CredentialError, Platforms, Pushed, Registry, RegistryError, Source, push};

use crate::{
    app::App,
    error::{CommandError, Kind},
    session::{BuildFlags, Session},
    ui::{Progress, bytes, count},
};

/// Which platforms of an image are meant.
#[derive(Debug, Args)]
pub(crate) struct PlatformArgs {
    /// Of an image for several platforms only this one, as `linux/arm64` (can be repeated)
    #[arg(long = "platform", value_name = "PLATFORM")]
    platforms: Vec<reimage_plan::Platform>,
}

impl PlatformArgs {
    /// What is meant; `otherwise` if nothing is said.
    pub(crate) fn platforms(&self, otherwise: Platforms) -> Platforms {
        let mut platforms: Vec<_> = self.platforms.iter().map(platform).collect();
        match platforms.len() {
            0 => otherwise,
            1 => Platforms::One(platforms.remove(0)),
            _ => Platforms::Some(platforms),
        }
    }
}

/// The platform that steps run on.
pub(crate) fn native() -> Platform {
    platform(&reimage_plan::Platform::default())
}

/// Fails if the image is what a machine made that could not give its steps what they demand.
pub(crate) fn may_leave(layout: &Layout, image: &Descriptor) -> Result<(), CommandError> {
    for manifest in layout.manifests(image)? {
        let (manifest, _) = layout.manifest(&manifest)?;
        if let Some(what) = manifest.annotations.get(DEGRADED) {
            let message = format!(
                "The image was made with `--degraded`, without {what}: what comes of that stays on its machine"
            );
            return Err(CommandError::new(Kind::Environment, message)
                .hint("build it on a machine that can give its steps what they demand"));
        }
    }
    Ok(())
}

/// Brings the layers of an image in the image store that nobody has needed here so far, if it has any.
pub(crate) fn bring(
    app: &App,
    layout: &Layout,
    image: &Descriptor,
    flags: &BuildFlags,
) -> Result<(), CommandError> {
    if layout.away(image)?.is_empty() {
        return Ok(());
    }
    let session = Session::open(app, flags)?;
    Ok(session.during(|context| reimage_build::bring(image, context))?)
}

/// An image on its way to registries.
pub(crate) struct Pushing<'a> {
    /// Where it is.
    pub(crate) source: Source<'a>,
    /// The image.
    pub(crate) image: &'a Descriptor,
    /// Which platforms of it.
    pub(crate) platforms: &'a Platforms,
    /// Names of images that may have blobs of it.
    pub(crate) known: &'a [Reference],
    /// How layers are brought that are needed now.
    pub(crate) flags: &'a BuildFlags,
}

impl Pushing<'_> {
    /// Pushes it under each of these names, those of one repository together; one result a name.
    pub(crate) fn to(
        &self,
        app: &App,
        registry: &Registry,
        names: &[Reference],
    ) -> Result<Vec<(Reference, Sha256)>, CommandError> {
        let mut repositories: BTreeMap<(&str, &str), Vec<&Reference>> = BTreeMap::new();
        for name in names {
            if name.digest().is_some() {
                let message = format!("`{name}` names a digest, and what is pushed has its own");
                return Err(CommandError::usage(message).hint("name a tag"));
            }
            repositories.entry((name.registry(), name.path())).or_default().push(name);
        }
        let mut digests = BTreeMap::new();
        for ((host, path), names) in repositories {
            let tags: Vec<_> =
                names.iter().filter_map(|name| name.tag()).map(str::to_owned).collect();
            let same =
                self.known.iter().filter(|name| name.registry() == host && name.path() != path);
            let mounts: Vec<_> = same.map(|name| name.path().to_owned()).collect();
            let to = registry.repository(host, path);
            let push = || {
                showing(app, app.ui.live, |progress| {
                    push(self.source, self.image, self.platforms, &to, &tags, &mounts, progress)
                })
            };
            let pushed = match (push(), self.source) {
                // The registry does not have a layer that is not here either.
                (Err(RegistryError::Layout(LayoutError::Away { .. })), Source::Layout(layout)) => {
                    bring(app, layout, self.image, self.flags)?;
                    push()?
                }
                (pushed, _) => pushed?,
            };
            tell(app, host, path, &pushed);
            digests.insert((host, path), pushed.digest);
        }
        let of = |name: &Reference| digests[&(name.registry(), name.path())];
        Ok(names.iter().map(|name| (name.clone(), of(name))).collect())
    }
}

fn tell(app: &App, host: &str, path: &str, pushed: &Pushed) {
    let Pushed { sent, bytes: size, mounted, .. } = *pushed;
    let sent = match sent {
        0 => "nothing new".to_owned(),
        sent => format!("{}, {}", count(sent, "blob"), bytes(size)),
    };
    let mounted = if mounted > 0 { format!(", {mounted} taken from there") } else { String::new() };
    app.ui.note(format!("{:>8} to {host}/{path}: {sent}{mounted}", "pushed"));
}

/// Does `work` while what moves is shown.
pub(crate) fn showing<T>(
    app: &App,
    shown: bool,
    work: impl FnOnce(reimage_registry::Progress<'_>) -> T,
) -> T {
    Progress::during(&app.ui, |events| {
        work(&|digest: &Sha256, done, total| {
            if shown {
                let what = format!("blob {}", &digest.hex()[..12]);
                events(Event::Download { what, done, total: Some(total) });
            }
        })
    })
}

/// The one image, as a verb prints it: a line a name.
pub(crate) fn print(app: &App, names: &[(Reference, Sha256)]) -> Result<(), CommandError> {
    for (name, digest) in names {
        if app.ui.json() {
            let digest = digest.to_string();
            app.ui.value(&serde_json::json!({ "name": name.familiar(), "digest": digest }))?;
        } else {
            app.ui.line(format!("{} {digest}", app.ui.out.bold(&name.familiar())))?;
        }
    }
    Ok(())
}

/// What `login` calls a registry.
fn login_name(host: &str) -> String {
    match host {
        "registry-1.docker.io" | "docker.io" => String::new(),
        host => format!(" {host}"),
    }
}

/// Whose fault it is, and what to do about it.
pub(crate) fn advice(error: &RegistryError) -> (Kind, Option<String>) {
    let all = match error {
        RegistryError::All(all) => all.last(),
        _ => None,
    };
    match all.unwrap_or(error) {
        RegistryError::Denied { host, known, .. } => {
            let login = login_name(host);
            let hint = if *known {
                format!("who we are to it may not: `reimage login{login}` says who else")
            } else {
                format!("`reimage login{login}` says who we are")
            };
            (Kind::Environment, Some(hint))
        }
        RegistryError::Http { source, host, .. } => {
            let secure = matches!(**source, HttpError::Unreachable { .. });
            let hint = format!(
                "a registry without encryption is named in config.toml: `[registry] insecure = [\"{host}\"]`; \
                     its own authority lies in `~/.config/containers/certs.d/{host}/ca.crt`"
            );
            (Kind::Environment, secure.then_some(hint))
        }
        RegistryError::Missing { .. }
        | RegistryError::Platform { .. }
        | RegistryError::Nested { .. }
        | RegistryError::NotAnImage { .. } => (Kind::Usage, None),
        _ => (Kind::Environment, None),
    }
}

impl From<RegistryError> for CommandError {
    fn from(error: RegistryError) -> Self {
        let (kind, hint) = advice(&error);
        let command = match error {
            RegistryError::Layout(error) => error.into(),
            error => Self::wrap(kind, error),
        };
        match hint {
            Some(hint) => command.hint(hint),
            None => command,
        }
    }
}

impl From<CredentialError> for CommandError {
    fn from(error: CredentialError) -> Self {
        let hint = match &error {
            CredentialError::NoFile => "set `HOME`, or `REGISTRY_AUTH_FILE` to a file",
            CredentialError::Helper { .. } => {
                "`credsStore` and `credHelpers` in docker's config.json name it"
            }
            CredentialError::File { .. } | CredentialError::Invalid { .. } => {
                "mend it, or move it away and log in again"
            }
        };
        Self::wrap(Kind::Environment, error).hint(hint)
    }
}
