//! From the file of a spec to a [`Spec`]: load, merge what the command line says, walk the targets.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    rc::Rc,
    thread,
};

use nickel_lang_core::{
    ast::InputFormat,
    cache::{CacheHub, SourcePath},
    error::{Reporter, Warning},
    eval::{VmContext, value::NickelValue},
    files::{FileId, Files},
};
use reimage_castore::Digest;
use reimage_plan::{Platform, Section, Spec};

use crate::{
    assemble::assemble,
    budget::{EvalLimits, Exceeded},
    diagnostic::{Diagnostic, Diagnostics, SpecError},
    explain::{self, explain},
    library::ROOT,
    loader::{Closure, Loader, add_library},
    machine::{Context, Fault, Machine},
    name::FieldPath,
    overrides::{self, Override, quoted},
    project::Project,
    sources::Sources,
    stacks, targets,
    walk::Walker,
};

/// What is to be evaluated.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The spec and its project, from [`crate::find_project`].
    pub project: &'a Project,
    /// Fields and patterns; none: everything in `sections`.
    pub names: &'a [FieldPath],
    /// What no name stands for.
    pub sections: &'a [Section],
    /// Evaluate every step of the spec too, as `check` does.
    pub every_step: bool,
    /// `--arg`: names and values.
    pub args: &'a [(String, String)],
    /// `--set`: `PATH=NICKEL`.
    pub sets: &'a [String],
    /// `--platform`: what is built for, whatever images say; none: what they say, else linux/amd64.
    pub platforms: &'a [Platform],
    /// What the evaluation may use.
    pub limits: EvalLimits,
}

impl<'a> Request<'a> {
    /// All images, exports and checks of a spec.
    pub fn new(project: &'a Project) -> Self {
        Self {
            project,
            names: &[],
            sections: &[Section::Images, Section::Exports, Section::Checks],
            every_step: false,
            args: &[],
            sets: &[],
            platforms: &[],
            limits: EvalLimits::default(),
        }
    }
}

/// An evaluated spec, and what it was evaluated from.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The spec.
    pub spec: Spec,
    /// Every file that was read, by its path from the project on, sorted, with the digest of its bytes.
    pub closure: Vec<(PathBuf, Digest)>,
    /// Files that would have been read, had they existed, sorted.
    pub absent: Vec<PathBuf>,
    /// The path of each `Local`, as it is written and as it was found without symbolic links, sorted.
    pub locals: Vec<(PathBuf, PathBuf)>,
    /// What is odd but can be built.
    pub warnings: Diagnostics,
    /// How many references between steps were followed: linear in the spec's size, whatever its paths.
    pub visits: usize,
}

/// What Nickel warned of.
#[derive(Clone, Default)]
pub(crate) struct Odd(Rc<RefCell<Vec<(Warning, Files)>>>);

impl Reporter<(Warning, Files)> for Odd {
    fn report(&mut self, warning: (Warning, Files)) {
        self.0.borrow_mut().push(warning);
    }
}

/// Nickel recurses; what a spec can need is reserved, not used. Smaller where the machine grants no more.
const STACKS: [usize; 4] = [4 << 30, 1 << 30, 256 << 20, 64 << 20];

/// Evaluates the targets of a spec.
pub fn evaluate(request: &Request) -> Result<Evaluated, SpecError> {
    on_large_stack(request.limits, |context, sources, odd| run(request, context, sources, odd))
}

/// Runs an evaluation on a thread of its own, within limits.
pub(crate) fn on_large_stack<T: Send>(
    limits: EvalLimits,
    run: impl Fn(&mut Context, &mut Sources, &Odd) -> Result<T, Fault> + Sync,
) -> Result<T, SpecError> {
    let evaluation = || {
        let mut sources = Sources::default();
        let hub = CacheHub::new();
        let odd = Odd::default();
        let mut context: Context = VmContext::new(hub, io::sink(), odd.clone());
        context.cache.start(limits);
        let result =
            panic::catch_unwind(AssertUnwindSafe(|| run(&mut context, &mut sources, &odd)));
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(fault)) => Err(SpecError { diagnostics: sources.diagnostics(fault) }),
            Err(payload) => {
                // What a machine that was cut off left behind is not worth taking apart.
                std::mem::forget(context);
                match payload.downcast::<Exceeded>() {
                    Ok(limit) => Err(exceeded(*limit, limits)),
                    Err(payload) => panic::resume_unwind(payload),
                }
            }
        }
    };
    thread::scope(|scope| {
        let spawn = |size| {
            let builder = thread::Builder::new().name("evaluate".to_owned()).stack_size(size);
            builder.spawn_scoped(scope, evaluation)
        };
        let Some(thread) = STACKS.into_iter().map(spawn).find_map(Result::ok) else {
            let fault = Diagnostic::error("cannot start a thread to evaluate the spec");
            return Err(SpecError { diagnostics: Sources::default().diagnostics(vec![fault]) });
        };
        thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}

fn exceeded(limit: Exceeded, limits: EvalLimits) -> SpecError {
    let (what, much) = match limit {
        Exceeded::Operations => ("takes too long", format!("{} operations", limits.operations)),
        Exceeded::Time => ("takes too long", format!("{} s", limits.time.as_secs_f64())),
        Exceeded::Memory => ("takes too much memory", format!("{} MiB", limits.memory >> 20)),
    };
    let fault = Diagnostic::error(format!(
        "evaluating the spec {what}: it was stopped after {much}"
    ))
    .note(
        "look for a function that calls itself without end, or for a list that grows without end",
    );
    SpecError { diagnostics: Sources::default().diagnostics(vec![fault]) }
}

/// A spec that is ready to be evaluated.
pub(crate) struct Prepared {
    pub(crate) closure: Closure,
    overrides: Vec<Override>,
    import: String,
    spec: NickelValue,
}

/// A spec that is ready to be evaluated for a platform.
pub(crate) struct PreparedFor {
    plain: NickelValue,
    merged: NickelValue,
}

/// Loads a spec and everything it imports; evaluates nothing.
pub(crate) fn prepare(
    context: &mut Context,
    sources: &mut Sources,
    project: &Project,
    args: &[(String, String)],
    sets: &[String],
) -> Result<Prepared, Fault> {
    add_library(&mut context.import_resolver);
    let mut loader = Loader {
        hub: &mut context.import_resolver,
        sources,
        project,
        closure: Closure::default(),
        faults: Vec::new(),
    };
    loader.spec();
    let mut overrides = Vec::new();
    for (number, (name, value)) in args.iter().enumerate() {
        overrides.push(loader.arg(number, name, value));
    }
    for (number, set) in sets.iter().enumerate() {
        overrides.extend(loader.set(number, set));
    }
    let Loader { closure, faults, .. } = loader;
    if !faults.is_empty() {
        return Err(faults);
    }
    let overrides = overrides::last(overrides);
    let Some(path) = project.file.to_str() else {
        let path = project.file.display();
        return Err(vec![Diagnostic::error(format!("the path of the spec is not UTF-8: {path}"))]);
    };
    let import = format!("(import {} as 'Nickel)", quoted(path));
    let spec = expression(context, sources, "spec", import.clone())?;
    Ok(Prepared { closure, overrides, import, spec })
}

/// What is merged over a spec to say what is being built for.
fn target(platform: &Platform) -> String {
    let architecture = &*platform.architecture;
    let variant = platform.variant.as_deref().unwrap_or_default();
    let machine = match (architecture, variant) {
        ("amd64", _) => "x86_64",
        ("386", _) => "i686",
        ("arm64", _) => "aarch64",
        ("arm", "v6") => "armv6l",
        ("arm", _) => "armv7l",
        (other, _) => other,
    };
    format!(
        " & {{ target | force = {{ os = \"linux\", arch = {}, variant = {}, machine = {} }} }}",
        quoted(architecture),
        quoted(variant),
        quoted(machine)
    )
}

/// Reads an expression of our own.
fn expression(
    context: &mut Context,
    sources: &Sources,
    name: &str,
    text: String,
) -> Result<NickelValue, Fault> {
    let path = SourcePath::Path(PathBuf::from(ROOT).join(format!("@{name}")), InputFormat::Nickel);
    let id: FileId = context.import_resolver.sources.add_string(path, text);
    context
        .prepare_eval(id)
        .map_err(|error| explain(error, context.import_resolver.sources.files(), sources))
}

impl Prepared {
    /// The same for a platform.
    pub(crate) fn built_for(
        &self,
        context: &mut Context,
        sources: &Sources,
        platform: &Platform,
    ) -> Result<PreparedFor, Fault> {
        let target = target(platform);
        let text = |spec: &str| format!("({spec}{target}) | (import \"reimage.ncl\").Spec");
        let plain = text(&self.import);
        let merged = overrides::merged(&self.import, &self.overrides);
        let merged = text(&merged.expect("flags lie beside the spec, whose path is UTF-8"));
        let plain = expression(context, sources, &format!("plain {platform}"), plain)?;
        let merged = expression(context, sources, &format!("merged {platform}"), merged)?;
        Ok(PreparedFor { plain, merged })
    }

    /// The spec as a record, with what the command line says merged over it.
    pub(crate) fn root(
        &self,
        machine: &mut Machine,
        built_for: &PreparedFor,
    ) -> Result<NickelValue, Fault> {
        let spec = machine.eval(self.spec.clone())?;
        if spec.as_record().is_none() {
            let shown = crate::machine::shown(&spec);
            let label = machine.at(machine.span(&[&spec]), "");
            return Err(vec![
                Diagnostic::error(format!("a spec is a record, got {shown}"))
                    .label(label)
                    .note("such as `{ images = { web | re.Image = { .. } } } | re.Spec`"),
            ]);
        }
        if crate::machine::field(&spec, "step").is_some() {
            let label = machine.at(machine.span(&[&spec]), "put it into a section");
            return Err(vec![
                Diagnostic::error("a spec is a record of sections, got a step")
                    .label(label)
                    .note("such as `{ images = { web | re.Image = { .. } } } | re.Spec`"),
            ]);
        }
        if !self.overrides.is_empty() {
            let plain = machine.eval(built_for.plain.clone())?;
            let faults = overrides::check(machine, &plain, &self.overrides);
            if !faults.is_empty() {
                return Err(faults);
            }
        }
        machine.eval(built_for.merged.clone())
    }
}

fn run(
    request: &Request,
    context: &mut Context,
    sources: &mut Sources,
    odd: &Odd,
) -> Result<Evaluated, Fault> {
    let project = request.project;
    let prepared = prepare(context, sources, project, request.args, request.sets)?;
    let sources: &Sources = sources;
    let first = request.platforms.first().cloned().unwrap_or_default();
    let mut built_for = BTreeMap::new();
    built_for.insert(first.clone(), prepared.built_for(context, sources, &first)?);
    let mut machine = Machine::new(context, sources, project);
    let root = prepared.root(&mut machine, &built_for[&first])?;
    let mut faults = Vec::new();
    let baseline = targets::baseline(&mut machine, &root, &mut faults);
    let wanted = targets::select(&mut machine, &root, request, &mut faults);
    // `platforms` of every image first; only then is it known for what the spec is to be evaluated.
    let asked = targets::platforms(&mut machine, &wanted, request.platforms, &mut faults);
    let others: BTreeSet<Platform> =
        asked.iter().flatten().filter(|platform| **platform != first).cloned().collect();
    if !others.is_empty() {
        drop(machine);
        for platform in others {
            let prepared = prepared.built_for(context, sources, &platform)?;
            built_for.insert(platform, prepared);
        }
        machine = Machine::new(context, sources, project);
    }
    let mut walker = Walker::new(machine);
    walker.roots.insert(first.clone(), root);
    for (platform, built_for) in built_for.iter().filter(|(platform, _)| **platform != first) {
        let root = prepared.root(&mut walker.machine, built_for)?;
        walker.roots.insert(platform.clone(), root);
    }
    let roots = targets::walk(&mut walker, wanted, &asked, &mut faults);
    let names = walker.names();
    for node in 0..walker.nodes.len() {
        for mut fault in std::mem::take(&mut walker.nodes[node].faults) {
            if let Some(rest) = fault.message.strip_prefix("{step}") {
                fault.message = format!("step `{}`{rest}", walker.short_name(node, &names));
            }
            faults.push(fault);
        }
    }
    targets::later(&walker, &mut faults);
    faults.extend(stacks::files(&walker, &names));
    if !faults.is_empty() {
        return Err(each_once(faults));
    }
    let mut spec = assemble(&walker, &roots, &names)?;
    spec.baseline = baseline;
    let mut warnings = each_once(stacks::two_roots(&walker, &names));
    for (warning, files) in odd.0.take() {
        warnings.extend(explain::odd(warning, &files, walker.machine.sources));
    }
    let warnings = walker.machine.sources.diagnostics(warnings);
    let closure = prepared.closure.files.into_iter().collect();
    let absent: BTreeSet<PathBuf> = prepared
        .closure
        .absent
        .into_iter()
        .map(|path| path.strip_prefix(&project.root).map(PathBuf::from).unwrap_or(path))
        .collect();
    let absent = absent.into_iter().collect();
    let locals = std::mem::take(&mut walker.machine.locals).into_iter().collect();
    Ok(Evaluated { spec, closure, absent, locals, warnings, visits: walker.visits })
}

/// What is wrong with a step is wrong with it for every platform, and is said once.
fn each_once(faults: Fault) -> Fault {
    let mut once: Fault = Vec::with_capacity(faults.len());
    for fault in faults {
        if !once.contains(&fault) {
            once.push(fault);
        }
    }
    once
}
