//! What a verb builds with: the store, the images, where sources come from, and the display.

use clap::Args;
use reimage_build::{Context, Event};
use reimage_castore::Store;
use reimage_oci::Layout;

use crate::{
    app::App,
    config::{Config, SourceFlags},
    error::CommandError,
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
    /// Open no socket: what is not in the store already is an error
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) sources: SourceFlags,
}

/// An open store and all that a build needs besides.
pub(crate) struct Session<'a> {
    app: &'a App,
    jobs: usize,
    keep_going: bool,
    /// Blobs and results.
    pub(crate) store: Store,
    /// Images and their tags.
    pub(crate) layout: Layout,
    sources: reimage_fetch::Sources,
}

impl<'a> Session<'a> {
    /// Opens everything.
    pub(crate) fn open(app: &'a App, flags: &BuildFlags) -> Result<Self, CommandError> {
        let config = app.config_with(flags.jobs.map(usize::from), &flags.sources)?;
        let store = app.store(&config)?;
        let layout = app.layout(&store)?;
        let sources = sources(app, &config, flags.offline)?;
        let (jobs, keep_going) = (config.jobs.value, flags.keep_going);
        Ok(Self { app, jobs, keep_going, store, layout, sources })
    }

    /// Does `work` with all of it, showing what happens.
    pub(crate) fn during<T>(&self, work: impl FnOnce(&Context<'_>) -> T) -> T {
        Progress::during(&self.app.ui, |events: &(dyn Fn(Event) + Sync)| {
            work(&Context {
                store: &self.store,
                layout: &self.layout,
                zygote: &self.app.zygote,
                sources: &self.sources,
                jobs: self.jobs,
                keep_going: self.keep_going,
                events,
            })
        })
    }
}
