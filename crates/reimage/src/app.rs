//! What every verb works with: the machine, the terminal, the flags of all verbs.

use reimage_castore::Store;
use reimage_oci::Layout;
use reimage_sandbox::Zygote;

use crate::{
    cli::Global,
    config::{CacheFlags, Config, Flags, SourceFlags},
    error::CommandError,
    machine::Machine,
    ui::Ui,
};

/// What every verb works with.
#[derive(Debug)]
pub(crate) struct App {
    /// Environment, working directory, clock.
    pub(crate) machine: Machine,
    /// The terminal.
    pub(crate) ui: Ui,
    /// Flags of every verb.
    pub(crate) global: Global,
    /// What starts sandboxes.
    pub(crate) zygote: Zygote,
}

impl App {
    /// The configuration, with the flags of a verb that builds or fetches over it.
    pub(crate) fn config_with(
        &self,
        jobs: Option<usize>,
        sources: &SourceFlags,
        caches: &CacheFlags,
    ) -> Result<Config, CommandError> {
        let store = self.global.store.as_deref();
        Config::load(
            &self.machine,
            &Flags { store, jobs, sources: sources.clone(), caches: caches.clone() },
        )
    }

    /// The configuration.
    pub(crate) fn config(&self) -> Result<Config, CommandError> {
        self.config_with(None, &SourceFlags::default(), &CacheFlags::default())
    }

    /// The store, opened.
    pub(crate) fn store(config: &Config) -> Result<Store, CommandError> {
        Ok(Store::open(&config.store.value)?)
    }

    /// The image store: in `--store` if that is given, else among the user's data, for people empty caches.
    pub(crate) fn layout(&self) -> Result<Layout, CommandError> {
        let directory = match &self.global.store {
            Some(store) => self.machine.absolute(store).join("oci"),
            None => self.machine.xdg("XDG_DATA_HOME", ".local/share")?.join("reimage/images"),
        };
        Ok(Layout::open_or_create(directory)?)
    }
}
