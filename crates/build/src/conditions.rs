//! Under what conditions a step runs: what it demands, what of that is in its key, and what the sandbox is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use reimage_castore::{self as castore, Demand, Demands, Device, Store, StoreError};
use reimage_plan::{Clock, Entropy, Plan, Run, StepId, StepKind};
use reimage_sandbox::{
    self as sandbox, Command, DEVICE_SIZE, Fixed, Machine, Needed, Probe, UPTIME, write_device,
};

use crate::baseline::{CPUS, DEMANDS, FILE_TIME};

/// What a step sees of time, chance and the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// What must be the same in every run.
    pub(crate) demands: Demands,
    /// Processors that it sees; none: this machine, because it cannot show another.
    pub(crate) cpus: Option<u32>,
}

/// Numbers of another generator are a file of another name.
const RANDOM: Device =
    Device { name: "urandom-1", size: DEVICE_SIZE, time: FILE_TIME.cast_unsigned() };

impl Conditions {
    /// Those of whatever says nothing of them.
    pub(crate) const BASELINE: Self = Self { demands: DEMANDS, cpus: Some(CPUS) };

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
        Self { demands: Demands { clock, entropy, stat }, cpus: Some(run.cpus.unwrap_or(CPUS)) }
    }

    /// What of them is the same in every run.
    pub(crate) fn fixed(&self) -> BTreeSet<Fixed> {
        let Self { demands: Demands { clock, entropy, stat }, cpus } = self;
        let all = [
            (Fixed::Clock, *clock != castore::Clock::Real),
            (Fixed::Entropy, *entropy == Demand::Fixed),
            (Fixed::Machine, cpus.is_some()),
            (Fixed::Stat, *stat == Demand::Fixed),
        ];
        all.into_iter().filter(|(_, fixed)| *fixed).map(|(what, _)| what).collect()
    }

    /// The same, but for what is `lacking`.
    pub(crate) fn without(mut self, lacking: &BTreeSet<Fixed>) -> Self {
        for what in lacking {
            match what {
                Fixed::Clock => self.demands.clock = castore::Clock::Real,
                Fixed::Entropy => self.demands.entropy = Demand::Real,
                Fixed::Machine => self.cpus = None,
                Fixed::Stat => self.demands.stat = Demand::Real,
            }
        }
        self
    }

    /// Tells the sandbox.
    pub(crate) fn ask(&self, store: &Store, command: &mut Command) -> Result<(), StoreError> {
        let began = match self.demands.clock {
            castore::Clock::Fixed | castore::Clock::Real => FILE_TIME,
            castore::Clock::At(time) => time,
        };
        if self.demands.clock != castore::Clock::Real {
            command.clock = sandbox::Clock::Fixed { start: began };
        }
        if let Some(cpus) = self.cpus {
            let booted = u64::try_from(began).unwrap_or(0).saturating_sub(UPTIME);
            command.machine = Machine::Fixed { cpus, booted };
        }
        if self.demands.entropy == Demand::Fixed {
            command.entropy = sandbox::Entropy::Fixed { device: random_device(store)? };
        }
        if self.demands.stat == Demand::Fixed {
            command.stat = sandbox::Stat::Fixed { file_time: FILE_TIME };
        }
        Ok(())
    }
}

/// Gives `command` the conditions of a step that says nothing of them.
pub fn as_a_step(store: &Store, command: &mut Command) -> Result<(), StoreError> {
    Conditions::BASELINE.ask(store, command)
}

/// The file that stands for /dev/urandom, which all steps of a store share.
fn random_device(store: &Store) -> Result<PathBuf, StoreError> {
    store.device(&RANDOM, |file| write_device(file))
}

/// What `probe` is needed for.
pub(crate) fn needed_for(probe: &Probe) -> BTreeSet<Fixed> {
    match &probe.needed {
        Needed::For(fixed) => fixed.iter().copied().collect(),
        Needed::Always | Needed::Never => BTreeSet::new(),
    }
}

/// `clock, entropy`
pub(crate) fn words(fixed: &BTreeSet<Fixed>) -> String {
    fixed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What is the machine's, and the baseline's in other steps, by the names of the steps that `target` is made of.
pub type Real = BTreeMap<String, BTreeSet<Fixed>>;

/// What the steps that `target` is made of see of the machine: what the spec says, and what was `given_up` besides.
pub(crate) fn real(
    plan: &Plan,
    target: StepId,
    given_up: impl Fn(StepId) -> BTreeSet<Fixed>,
) -> Real {
    let mut real = Real::new();
    for id in made_of(plan, target) {
        let step = plan.step(id);
        let mut what = given_up(id);
        if let StepKind::Run(run) = &step.kind {
            let fixed = Conditions::of(run).fixed();
            what.extend(Conditions::BASELINE.fixed().difference(&fixed));
        }
        if !what.is_empty() {
            real.insert(step.name.clone(), what);
        }
    }
    real
}

/// The steps that `target` is made of, itself among them; what must only pass is no part of an image.
pub(crate) fn made_of(plan: &Plan, target: StepId) -> BTreeSet<StepId> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![target]);
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            match &plan.step(id).kind {
                StepKind::Image(image) => next.extend(&image.layers),
                other => next.extend(other.references()),
            }
        }
    }
    seen
}
