//! What a verb builds with: the store, the images, where sources come from, and the display.

use std::{cell::RefCell, path::Path};

use clap::Args;
use reimage_build::{Context, Event, Purpose};
use reimage_castore::Store;
use reimage_fetch::{Bundle, Sources, SourcesConfig, debian::DebianConfig};
use reimage_oci::Layout;
use reimage_plan::{Plan, Target};

use crate::{
    app::App,
    caches::Caches,
    commands::lock_of,
    config::{CacheFlags, Config, SourceFlags},
    error::CommandError,
    network,
    spec_args::{ALL, Loaded, SpecArgs},
    ui::Progress,
};

/// Flags of the verbs that build.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "How to build")]
pub(crate) struct BuildFlags {
    /// Most steps at the same time; the processors of this machine if not given
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// After a failure go on with the steps that do not need what failed
    #[arg(short, long)]
    pub(crate) keep_going: bool,
    /// Run steps on a machine that cannot give all they demand, with what it can give; `reimage doctor` says what it lacks
    ///
    /// What comes of such a step is not reproducible: it is found by another key, and the image says so.
    #[arg(long)]
    pub(crate) degraded: bool,
    /// Open no socket: what is neither in the store nor in a lock bundle is an error
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) sources: SourceFlags,
    #[command(flatten)]
    pub(crate) caches: CacheFlags,
}

/// An open store and all that a build needs besides.
pub(crate) struct Session<'a> {
    app: &'a App,
    jobs: usize,
    keep_going: bool,
    degraded: bool,
    memory: u64,
    /// Run every step of the targets again, and compare.
    pub(crate) twice: bool,
    /// What becomes of images.
    pub(crate) purpose: Purpose,
    /// A store whose pinned sources may be used, and nothing else of it.
    sources_of: Option<Store>,
    /// What a team shares; it goes before the store, in which its temporary files lie.
    caches: Option<Caches<'a>>,
    /// Blobs and results.
    pub(crate) store: Store,
    /// Images and their tags.
    pub(crate) layout: Layout,
    /// Where remote sources come from.
    pub(crate) sources: Sources,
    bundles: RefCell<Vec<Bundle>>,
}

impl<'a> Session<'a> {
    /// Opens everything.
    pub(crate) fn open(app: &'a App, flags: &BuildFlags) -> Result<Self, CommandError> {
        let config = app.config_with(flags.jobs.map(usize::from), &flags.sources, &flags.caches)?;
        let store = App::store(&config)?;
        let layout = app.layout()?;
        let sources = sources(app, &config, &store, flags.offline)?;
        let (jobs, keep_going) = (config.jobs.value, flags.keep_going);
        let degraded = flags.degraded;
        let memory = config.memory.value.0;
        let bundles = RefCell::default();
        let caches = Caches::open(app, &config, &store, flags.offline)?;
        Ok(Self {
            app,
            jobs,
            keep_going,
            degraded,
            memory,
            twice: false,
            purpose: Purpose::default(),
            sources_of: None,
            store,
            layout,
            sources,
            bundles,
            caches,
        })
    }

    /// The same with an empty store in `directory`: what is built there is made anew, but for pinned sources.
    pub(crate) fn rebuilding(self, directory: &Path) -> Result<Self, CommandError> {
        let store = Store::open(directory.join("store"))?;
        let layout = Layout::open_or_create(directory.join("images"))?;
        Ok(Self { sources_of: Some(self.store), store, layout, ..self })
    }

    /// Evaluates what is named, once for as long as nothing changes.
    pub(crate) fn load(&self, spec: &SpecArgs) -> Result<Vec<Loaded>, CommandError> {
        spec.load(self.app, ALL, false, Some(&self.store))
    }

    /// The plan of a single target; its lock is made if there is none.
    pub(crate) fn plan_of_one(&self, spec: &SpecArgs) -> Result<Plan, CommandError> {
        let loaded = self.load(spec)?;
        let loaded = loaded.into_iter().next().expect("one name is of one spec");
        let lock = lock_of(self.app, self, &loaded, false)?;
        let plan = Plan::new(loaded.evaluated.spec, &lock)?;
        let targets: Vec<_> = plan.spec().targets.iter().map(Target::path).collect();
        if targets.len() == 1 {
            return Ok(plan);
        }
        let message = format!("{} targets are named, and one is needed", targets.len());
        Err(CommandError::usage(message).hint(format!("name one of {}", targets.join(", "))))
    }

    /// From here on what the lock at `path` pins may come from its bundle, and `prune` leaves it.
    pub(crate) fn use_lock(&self, path: &Path) -> Result<(), CommandError> {
        let bundle = Bundle::of_lock(path);
        let mut bundles = self.bundles.borrow_mut();
        if bundle.exists() && !bundles.contains(&bundle) {
            bundles.push(bundle);
        }
        Ok(self.store.remember_lock(path)?)
    }

    /// Does `work` with all of it, showing what happens.
    pub(crate) fn during<T>(&self, work: impl FnOnce(&Context<'_>) -> T) -> T {
        let bundles = self.bundles.borrow().clone();
        let done = Progress::during(&self.app.ui, |events: &(dyn Fn(Event) + Sync)| {
            work(&Context {
                store: &self.store,
                layout: &self.layout,
                zygote: &self.app.zygote,
                sources: &self.sources,
                bundles: &bundles,
                jobs: self.jobs,
                keep_going: self.keep_going,
                twice: self.twice,
                purpose: self.purpose,
                rebuild: self.sources_of.as_ref(),
                degraded: self.degraded,
                memory: self.memory,
                now: self.app.machine.time(),
                cache: self.caches.as_ref().map(Caches::cache),
                events,
            })
        });
        for what in self.store.damage() {
            self.app.ui.warning(format!("Damaged in the store: {what}"));
        }
        if let Some(caches) = &self.caches {
            caches.warn();
        }
        done
    }
}

/// The largest file that an unpinned URL may give: 64 GiB.
const MAX_DOWNLOAD: u64 = 64 << 30;

/// Remote sources as this machine reaches them.
fn sources(
    app: &App,
    config: &Config,
    store: &Store,
    offline: bool,
) -> Result<Sources, CommandError> {
    let http_mirrors = config.http_mirrors.iter();
    let http_mirrors = http_mirrors.map(|(prefix, s)| (prefix.clone(), s.value.clone())).collect();
    let debian = DebianConfig {
        mirrors: config.mirrors.value.clone(),
        security_mirrors: config.security_mirrors.value.clone(),
        keyrings: config.keyrings.value.clone(),
    };
    let http = network::http(&app.machine, offline);
    Ok(Sources::new(SourcesConfig {
        http,
        registry: network::registries(&app.machine, config),
        http_mirrors,
        debian,
        root: "/".into(),
        cache: store.root().join("indexes"),
        max_size: MAX_DOWNLOAD,
    })?)
}
