//! Which targets of which spec: the arguments of every verb that reads a spec, and its evaluation.

use std::path::PathBuf;

use clap::Args;
use reimage_castore::Store;
use reimage_plan::{Lock, Platform, Section};
use reimage_spec::{
    EvalLimits, Evaluated, FieldPath, Name, Project, Request, evaluate, find_project, parse_arg,
};

use crate::{
    app::App,
    error::{CommandError, Kind, from::lock_error},
};

/// What goes over a spec.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Over the spec")]
pub(crate) struct Overrides {
    /// Set `args.NAME` of the spec to this string, as docker's `--build-arg` (can be repeated)
    #[arg(long = "arg", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    /// Set a field of the spec to a Nickel value: `--set args.workers=4` (can be repeated)
    #[arg(long = "set", value_name = "PATH=NICKEL")]
    sets: Vec<String>,
    /// Build for this platform, as `linux/arm64`, whatever `platforms` says; several, with commas, make an index
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<Platform>,
}

impl Overrides {
    /// The same for this platform, unless another is asked for.
    pub(crate) fn built_for(&self, platform: Platform) -> Self {
        let mut overrides = self.clone();
        if overrides.platforms.is_empty() {
            overrides.platforms.push(platform);
        }
        overrides
    }

    /// Refuses them for `name`, which is an image that is here and of no spec.
    pub(crate) fn of_no_spec(&self, name: &str) -> Result<(), CommandError> {
        if self.arguments.is_empty() && self.sets.is_empty() && self.platforms.is_empty() {
            return Ok(());
        }
        let message =
            format!("`--arg`, `--set` and `--platform` go over a spec, and `{name}` is an image");
        Err(CommandError::usage(message).hint("name a target: `images.NAME`"))
    }
}

/// Targets by name, and what goes over their spec.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SpecArgs {
    /// What: `images.web`, `exports.*`, `dir#checks.tests`; nothing: all that spec.ncl here names
    ///
    /// `[FILE#]PATH`: FILE is a spec or the directory of a spec.ncl, PATH the path of a field, in which `*` stands
    /// for any part of a name. `FILE#` means all of its images, exports and checks.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// What no PATH stands for.
pub(crate) const ALL: &[Section] = &[Section::Images, Section::Exports, Section::Checks];

/// An evaluated spec with its project and its lock.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The spec's file and its project.
    pub(crate) project: Project,
    /// What it says.
    pub(crate) evaluated: Evaluated,
    /// Where its lock is, or goes.
    pub(crate) lock_path: PathBuf,
    /// Its lock; none: there is no such file.
    pub(crate) lock: Option<Lock>,
}

/// One spec and the paths that were named in it; none: all.
struct Wanted {
    project: Project,
    paths: Vec<FieldPath>,
    all: bool,
}

impl SpecArgs {
    /// Exactly one name, of a verb that takes one.
    pub(crate) fn one(name: &str, overrides: &Overrides) -> Self {
        Self { names: vec![name.to_owned()], overrides: overrides.clone() }
    }

    /// Whether only specs are named, and no field of one.
    pub(crate) fn is_whole(&self) -> bool {
        self.names.iter().all(|name| name.ends_with('#'))
    }

    /// Evaluates what is named: each spec once, in the order in which they are named. `sections` is what no PATH
    /// stands for; `every_step` evaluates all steps, too. With a store, a spec of which nothing has changed is not
    /// evaluated again.
    pub(crate) fn load(
        &self,
        app: &App,
        sections: &[Section],
        every_step: bool,
        store: Option<&Store>,
    ) -> Result<Vec<Loaded>, CommandError> {
        let args = self.overrides.arguments.iter().map(|arg| {
            parse_arg(arg).map_err(|e| CommandError::usage(format!("Bad `--arg`: {e}")))
        });
        let args = args.collect::<Result<Vec<_>, _>>()?;
        // Half of what is free, so that it is the spec that ends and not another process.
        let mut limits = EvalLimits::default();
        limits.memory = limits.memory.min((app.machine.memory / 2).max(256 << 20));
        let mut loaded = Vec::new();
        for Wanted { project, paths, all } in self.wanted(app)? {
            let paths = if all { &[][..] } else { &paths[..] };
            let request = Request {
                project: &project,
                names: paths,
                sections,
                every_step,
                args: &args,
                sets: &self.overrides.sets,
                platforms: &self.overrides.platforms,
                limits,
            };
            let evaluated = match store {
                Some(store) => evaluate_once(app, store, &request),
                None => evaluate(&request).map_err(CommandError::from),
            };
            let shown = |file: &str| project.seen_from(&app.machine.cwd, file);
            let mut evaluated = evaluated.map_err(|error| error.rename(shown))?;
            evaluated.warnings.rename(shown);
            for step in &mut evaluated.spec.steps {
                step.place.file = shown(&step.place.file);
            }
            if !evaluated.warnings.is_empty() {
                app.ui.diagnostics(&evaluated.warnings);
            }
            let lock_path = project.lock();
            let lock = read_lock(&lock_path)?;
            loaded.push(Loaded { project, evaluated, lock_path, lock });
        }
        Ok(loaded)
    }

    fn wanted(&self, app: &App) -> Result<Vec<Wanted>, CommandError> {
        let here = [String::new()];
        let names = if self.names.is_empty() { &here[..] } else { &self.names[..] };
        let mut wanted: Vec<Wanted> = Vec::new();
        for name in names {
            let Name { file, path } = match name.as_str() {
                "" => Name { file: None, path: None },
                name => name
                    .parse()
                    .map_err(|e: reimage_spec::NameError| CommandError::usage(e.to_string()))?,
            };
            let file = app.machine.absolute(file.as_deref().unwrap_or("spec.ncl").as_ref());
            let project = find_project(&file)?;
            let index = wanted.iter().position(|w| w.project == project).unwrap_or(wanted.len());
            if index == wanted.len() {
                wanted.push(Wanted { project, paths: Vec::new(), all: false });
            }
            match path {
                Some(path) => wanted[index].paths.push(path),
                None => wanted[index].all = true,
            }
        }
        Ok(wanted)
    }
}

/// The evaluation that is asked for: from its memo, if nothing it was read from has changed.
fn evaluate_once(
    app: &App,
    store: &Store,
    request: &Request<'_>,
) -> Result<Evaluated, CommandError> {
    let Some(program) = &app.machine.program else { return Ok(evaluate(request)?) };
    let key = request.key(program);
    let memo = store.memo(&key)?;
    if let Some(known) = memo.and_then(|memo| Evaluated::of_memo(&memo, request.project)) {
        return Ok(known);
    }
    let evaluated = evaluate(request)?;
    if let Some(memo) = evaluated.memo() {
        store.put_memo(&key, &memo)?;
    }
    Ok(evaluated)
}

/// The lock at `path`; none if there is none.
pub(crate) fn read_lock(path: &std::path::Path) -> Result<Option<Lock>, CommandError> {
    let text = match fs_err::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CommandError::wrap(Kind::Environment, error)),
    };
    let text = String::from_utf8(text).map_err(|_| {
        CommandError::new(Kind::Spec, format!("The lock `{}` is not UTF-8 text", path.display()))
    })?;
    Lock::parse(&text).map(Some).map_err(|error| lock_error(error, path))
}
