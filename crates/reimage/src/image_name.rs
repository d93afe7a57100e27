//! Images as people name them: a target of a spec, which is built first, or what is in the image store.

use clap::Args;
use reimage_build::{Purpose, TargetOutput, build};
use reimage_oci::{Descriptor, Layout, LayoutError, Reference, StoredImage};
use reimage_spec::{Name, NameError};

use crate::{
    app::App,
    error::{CommandError, did_you_mean},
    session::{BuildFlags, Session},
    spec_args::{Overrides, SpecArgs},
};

/// One image, and how to build it if it is a target of a spec.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// The image: a target such as `images.web` or `dir#images.web`, which is built if need be, or a tag or digest
    /// of an image that is here
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    #[command(flatten)]
    pub(crate) build: BuildFlags,
}

/// An image that is here.
pub(crate) struct Here {
    /// Its layout.
    pub(crate) layout: Layout,
    /// Its descriptor and names.
    pub(crate) image: StoredImage,
}

/// Whether a name is a target of a spec rather than a tag or digest: no tag has a `#`, and no registry is called
/// `images` or as another section is.
pub(crate) fn is_target(name: &str) -> bool {
    let section = |section: &&str| name.strip_prefix(*section).is_some_and(|n| n.starts_with('.'));
    name.contains('#') || ["images", "steps", "exports", "checks"].iter().any(section)
}

impl ImageArgs {
    /// The names that a target gives its image: those that it has here.
    pub(crate) fn tags(&self, here: &Here) -> Result<Vec<Reference>, CommandError> {
        let names = here.image.names.iter().filter_map(|name| name.parse::<Reference>().ok());
        let names: Vec<_> = names.collect();
        if names.is_empty() {
            let message = format!("`{}` has no `tags`, so it has no name to go by", self.name);
            return Err(
                CommandError::usage(message).hint("say where to: `registry.example/NAME:TAG`")
            );
        }
        Ok(names)
    }

    /// Builds it if it is a target; finds it.
    pub(crate) fn find(&self, app: &App) -> Result<Here, CommandError> {
        find_or_build(app, &self.name, &self.overrides, &self.build)
    }

    /// The same of an image that is only sent on: what a cache has of it need not come.
    pub(crate) fn find_to_send(&self, app: &App) -> Result<Here, CommandError> {
        build_or_find(app, &self.name, &self.overrides, &self.build, Purpose::SendOn)
    }
}

/// Builds what `name` says if it is a target; finds it.
pub(crate) fn find_or_build(
    app: &App,
    name: &str,
    overrides: &Overrides,
    flags: &BuildFlags,
) -> Result<Here, CommandError> {
    build_or_find(app, name, overrides, flags, Purpose::Keep)
}

fn build_or_find(
    app: &App,
    name: &str,
    overrides: &Overrides,
    flags: &BuildFlags,
    purpose: Purpose,
) -> Result<Here, CommandError> {
    if !is_target(name) {
        let layout = app.layout()?;
        let image = find_or_target(&layout, name)?;
        return Ok(Here { layout, image });
    }
    let mut session = Session::open(app, flags)?;
    session.purpose = purpose;
    let plan = session.plan_of_one(&SpecArgs::one(name, overrides))?;
    let record = session.during(|context| build(&plan, context))?;
    let target = &record.targets[0];
    let TargetOutput::Image(made) = &target.output else {
        return Err(CommandError::usage(format!("`{}` is no image", target.path)));
    };
    let image = session.layout.find(&made.digest.to_string())?;
    Ok(Here { layout: session.layout.clone(), image })
}

/// An image by tag or digest; a near tag is suggested.
pub(crate) fn find(layout: &Layout, name: &str) -> Result<StoredImage, CommandError> {
    layout.find(name).map_err(|error| {
        let missing = matches!(error, LayoutError::NoImage { .. });
        let images = layout.images().unwrap_or_default();
        let names = images.iter().flat_map(|image| &image.names).map(String::as_str);
        let near = did_you_mean(name, names).map(|near| format!("did you mean `{near}`?"));
        let command = CommandError::from(error);
        match near.filter(|_| missing) {
            Some(near) => command.hint(near),
            None => command,
        }
    })
}

/// An image by tag or digest, where a target could have been named, too.
pub(crate) fn find_or_target(layout: &Layout, name: &str) -> Result<StoredImage, CommandError> {
    find(layout, name).map_err(|error| {
        let missing = matches!(error.source.downcast_ref(), Some(LayoutError::NoImage { .. }));
        if !missing {
            return error;
        }
        let message = format!("`{name}` is neither an image that is here nor a target of a spec");
        let both = CommandError { hints: error.hints, ..CommandError::usage(message) };
        match name.parse::<Name>() {
            Err(looks @ NameError::File { .. }) => both.hint(looks.to_string()),
            _ => both.hint("a target is `images.NAME`, in another spec `DIR#images.NAME`"),
        }
    })
}

/// The one manifest of an image, or that of this machine's platform.
pub(crate) fn manifest(layout: &Layout, image: &StoredImage) -> Result<Descriptor, CommandError> {
    let manifests = layout.manifests(&image.descriptor)?;
    let host = |d: &&Descriptor| {
        d.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == "amd64")
    };
    let found = manifests.iter().find(host).cloned();
    found.ok_or_else(|| CommandError::usage("It has no manifest for `linux/amd64`"))
}
