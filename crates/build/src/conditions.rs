//! Under what conditions a step runs: what it demands, what of that is in its key, and what the sandbox is told.

use std::path::PathBuf;

use reimage_castore::{self as castore, Demand, Demands, Device};
use reimage_plan::{Clock, Entropy, Run};
use reimage_sandbox::{self as sandbox, Command, DEVICE_SIZE, Machine, UPTIME, write_device};

use crate::{
    StepError,
    baseline::{CPUS, DEMANDS, FILE_TIME},
    engine::Engine,
};

/// What a step sees of time, chance and the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// What must be the same in every run.
    pub(crate) demands: Demands,
    /// Processors that it sees; none: this machine, all of it.
    pub(crate) cpus: Option<u32>,
}

/// Numbers of another generator are a file of another name.
const RANDOM: Device =
    Device { name: "urandom-1", size: DEVICE_SIZE, time: FILE_TIME.cast_unsigned() };

impl Conditions {
    /// Those of whatever says nothing of them.
    pub(crate) const BASELINE: Self = Self { demands: DEMANDS, cpus: CPUS };

    /// Those of `run`.
    pub(crate) fn of(run: &Run) -> Self {
        let demand = |said: Option<Entropy>, unsaid| match said {
            None => unsaid,
            Some(Entropy::Fixed) => Demand::Fixed,
            Some(Entropy::Real) => Demand::Real,
        };
        let clock = match run.clock {
            None => DEMANDS.clock,
            Some(Clock::Fixed) => castore::Clock::Fixed,
            Some(Clock::Real) => castore::Clock::Real,
            Some(Clock::At(time)) => castore::Clock::At(time),
        };
        let entropy = demand(run.entropy, DEMANDS.entropy);
        let stat = demand(run.stat, DEMANDS.stat);
        Self { demands: Demands { clock, entropy, stat }, cpus: run.cpus.or(CPUS) }
    }

    /// Tells the sandbox.
    pub(crate) fn ask(&self, engine: &Engine<'_>, command: &mut Command) -> Result<(), StepError> {
        let began = match self.demands.clock {
            castore::Clock::Fixed | castore::Clock::Real => FILE_TIME,
            castore::Clock::At(time) => time,
        };
        if let Some(cpus) = self.cpus {
            let booted = u64::try_from(began).unwrap_or(0).saturating_sub(UPTIME);
            command.machine = Machine::Fixed { cpus, booted };
        }
        if self.demands.entropy == Demand::Fixed {
            command.entropy = sandbox::Entropy::Fixed { device: random_device(engine)? };
        }
        Ok(())
    }
}

/// The file that stands for /dev/urandom, which all steps of a store share.
fn random_device(engine: &Engine<'_>) -> Result<PathBuf, StepError> {
    Ok(engine.store().device(&RANDOM, |file| write_device(file))?)
}
