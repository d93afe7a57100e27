//! `reimage verify`: builds an image again, from its pinned sources alone, and compares.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use reimage_build::{BuildError, TargetOutput, build};
use reimage_castore::Store;
use reimage_oci::{
    self as oci, CompareError, Compared, Descriptor, Difference, Layout, Limits, Reference,
    compare, import_archive, import_layout,
};
use reimage_plan::{Plan, Platform, Section, StepId, StepKind, Target};
use serde_json::json;

use super::lock::lock_of;
use crate::{
    app::App,
    cli::FormatArgs,
    error::{CommandError, Kind, from::source_is_gone},
    image_name::find,
    session::{BuildFlags, Session},
    spec_args::{Overrides, SpecArgs},
    transfer,
};

/// Build an image again from its pinned sources, and compare
///
/// In an empty store, with no result of any cache; each step as a user with one id, on one processor of a busy machine,
/// in other directories, on another file system. Pinned sources may come from the store: their digests are checked
/// again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage verify web:1.0                      an image that is here, by the spec.ncl here
  reimage verify web.tar images.web           an archive, by a target of a spec with several images
  reimage verify ./layout services/web#       the directory of an OCI layout, by another spec

Ends with one line: `identical` (0), `different`, with the first layer, path and byte that differ and the step that made
the layer (4), or `not rebuildable`, with the pin that is gone (5).")]
pub(crate) struct VerifyArgs {
    /// The image: a tag or digest of one that is here, an archive, or the directory of an OCI layout
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The target that it was made from; of several images the one whose tag or digest is the image's
    #[arg(value_name = "NAME", default_value = "spec.ncl#")]
    target: String,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// What came of it.
enum Verdict {
    Identical,
    /// Where it differs first, and the step that made that layer.
    Different(Difference, Option<String>),
    NotRebuildable(String),
}

/// Runs it.
pub(crate) fn run(args: &VerifyArgs, app: &App) -> Result<ExitCode, CommandError> {
    let session = Session::open(app, &args.build)?;
    let clean = Clean::new(&session.store)?;
    let given = Given::open(args, app, &clean)?;
    let spec = SpecArgs::one(&args.target, &given.overrides(&args.overrides)?);
    let session = session.rebuilding(&clean.0)?;
    let loaded = spec.load(app, &[Section::Images], false, None)?;
    let loaded = loaded.into_iter().next().expect("one name is of one spec");
    let lock = lock_of(app, &session, &loaded, true)?;
    let mut spec = loaded.evaluated.spec;
    let images = spec.targets.iter().filter_map(|target| match &spec.steps[target.step.0].kind {
        StepKind::Image(image) => Some((target.clone(), image.tags.clone())),
        StepKind::Index(index) => Some((target.clone(), index.tags.clone())),
        _ => None,
    });
    spec.targets = vec![given.choose(&images.collect::<Vec<_>>())?];
    let plan = Plan::new(spec, &lock)?;
    let target = &plan.spec().targets[0];
    let verdict = match session.during(|context| build(&plan, context)) {
        Ok(record) => {
            let TargetOutput::Image(made) = &record.targets[0].output else {
                unreachable!("the target is an image")
            };
            if given.descriptor.digest != made.digest {
                transfer::bring(app, &given.layout, &given.descriptor, &args.build)?;
            }
            match given.first_difference(&session.layout, &made.descriptor())? {
                None => Verdict::Identical,
                Some((number, difference)) => {
                    let image = plan.images(target.step)[number];
                    let step = step_of(&plan, image, &difference);
                    Verdict::Different(difference, step)
                }
            }
        }
        Err(error) => match gone(&error) {
            Some(what) => Verdict::NotRebuildable(what),
            None => return Err(error.into()),
        },
    };
    say(app, &target.path(), &given.descriptor, &verdict)
}

/// An empty store and layout, gone with the value. It lies in the store's own temporary directory, which is swept when
/// we are killed.
struct Clean(PathBuf);

impl Clean {
    fn new(store: &Store) -> Result<Self, CommandError> {
        let path = store.tmp_name();
        fs_err::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Clean {
    fn drop(&mut self) {
        let _swept_later = reimage_sandbox::remove_tree(&self.0);
    }
}

/// The image that is to be verified.
struct Given {
    layout: Layout,
    descriptor: Descriptor,
    names: Vec<String>,
}

impl Given {
    /// Finds it; an archive or a layout is copied, so that every digest in it is checked.
    fn open(args: &VerifyArgs, app: &App, clean: &Clean) -> Result<Self, CommandError> {
        let path = app.machine.absolute(Path::new(&args.image));
        if !path.exists() {
            let layout = app.layout()?;
            let image = find(&layout, &args.image).map_err(|error| {
                error.hint("an archive or the directory of a layout is named by its path")
            })?;
            return Ok(Self { layout, descriptor: image.descriptor, names: image.names });
        }
        let layout = Layout::open_or_create(clean.0.join("given"))?;
        let session = layout.session()?;
        let imported = if path.is_dir() {
            import_layout(&session, &Layout::open(&path)?, Limits::default())?
        } else {
            import_archive(&session, fs_err::File::open(&path)?, Limits::default())?
        };
        drop(session);
        let [image] = &imported[..] else {
            let message =
                format!("`{}` holds {} images, and one is verified", args.image, imported.len());
            return Err(CommandError::usage(message)
                .hint("`reimage import` takes all of them: name one by its tag"));
        };
        let names = image.names.iter().map(Reference::familiar).collect();
        Ok(Self { layout, descriptor: image.descriptor.clone(), names })
    }

    /// What goes over the spec: a manifest is rebuilt for its platform, whatever others the spec names.
    fn overrides(&self, overrides: &Overrides) -> Result<Overrides, CommandError> {
        if self.descriptor.is_index() {
            return Ok(overrides.clone());
        }
        let config = self.layout.image_config(&self.layout.manifest(&self.descriptor)?.0)?;
        let oci::Platform { architecture, variant, .. } = config.platform;
        Ok(overrides.built_for(Platform { architecture, variant }))
    }

    /// The first difference to what was rebuilt, and which of its images has it.
    fn first_difference(
        &self,
        layout: &Layout,
        rebuilt: &Descriptor,
    ) -> Result<Option<(usize, Difference)>, CommandError> {
        let ours = self.layout.manifests(&self.descriptor)?;
        let theirs = layout.manifests(rebuilt)?;
        for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let first = Compared { layout: &self.layout, manifest: ours };
            let second = Compared { layout, manifest: theirs };
            if let Some(difference) = compare(&first, &second)? {
                return Ok(Some((number, difference)));
            }
        }
        let same = self.descriptor.digest == rebuilt.digest;
        Ok((!same).then_some((0, Difference::Written { document: "index" })))
    }

    /// The only image of a spec, or the only one that has a name of ours among its tags.
    fn choose(&self, images: &[(Target, Vec<String>)]) -> Result<Target, CommandError> {
        let familiar = |tag: &String| Some(tag.parse::<Reference>().ok()?.or_latest().familiar());
        let mut named = images.iter().filter(|(_, tags)| {
            tags.iter().filter_map(familiar).any(|tag| self.names.contains(&tag))
        });
        match (images, named.next(), named.next()) {
            ([(only, _)], ..) | (_, Some((only, _)), None) => Ok(only.clone()),
            ([], ..) => Err(CommandError::usage("The spec has no image")),
            _ => {
                let paths: Vec<_> = images.iter().map(|(target, _)| target.path()).collect();
                let message = "Of which image of the spec it is, its tags do not say";
                Err(CommandError::usage(message).hint(format!("name one of {}", paths.join(", "))))
            }
        }
    }
}

/// The step that made the layer of a difference.
fn step_of(plan: &Plan, image: StepId, difference: &Difference) -> Option<String> {
    let (Difference::Layer { number, .. } | Difference::Compression { number }) = difference else {
        return None;
    };
    let layers = plan.stack(image);
    let mut layers =
        layers.into_iter().filter(|id| !matches!(plan.step(*id).kind, StepKind::Image(_)));
    layers.nth(*number).map(|id| plan.step(id).name.clone())
}

/// What is gone that the build needs, if that is why it failed.
fn gone(error: &BuildError) -> Option<String> {
    let BuildError::Steps(steps) = error else { return None };
    let step = steps.iter().find(|step| source_is_gone(step))?;
    let mut words = vec![step.to_string()];
    let mut next = std::error::Error::source(&**step);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !words.iter().any(|word| word.contains(&text)) {
            words.push(text);
        }
        next = cause.source();
    }
    Some(words.join(": "))
}

/// One line, and its exit code.
fn say(
    app: &App,
    target: &str,
    given: &Descriptor,
    verdict: &Verdict,
) -> Result<ExitCode, CommandError> {
    let digest = given.digest.to_string();
    let (word, detail, step, code) = match verdict {
        Verdict::Identical => ("identical", None, None, ExitCode::SUCCESS),
        Verdict::Different(difference, step) => {
            ("different", Some(difference.to_string()), step.clone(), Kind::Different.into())
        }
        Verdict::NotRebuildable(what) => {
            ("not rebuildable", Some(what.clone()), None, Kind::NotRebuildable.into())
        }
    };
    if app.ui.json() {
        app.ui.value(&json!({
            "verdict": word, "target": target, "digest": digest, "difference": detail, "step": step,
        }))?;
        return Ok(code);
    }
    let word = app.ui.out.bold(word);
    let detail =
        detail.map_or_else(String::new, |detail| format!(": {}", crate::ui::plain(&detail)));
    let step = step.map_or_else(String::new, |step| format!(" (made by {step})"));
    app.ui.line(format!("{word} {target} {digest}{detail}{step}"))?;
    Ok(code)
}

impl From<CompareError> for CommandError {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Layout(error) => error.into(),
            _ => Self::wrap(Kind::Environment, error),
        }
    }
}
