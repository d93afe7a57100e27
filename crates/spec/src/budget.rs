//! Limits of an evaluation: Nickel's machine asks its cache for every thunk, so a cache that counts is a clock.
//!
//! Past a limit it unwinds with [`Exceeded`], caught where the evaluation was started.

use std::{fs::File, os::unix::fs::FileExt, panic, time::Duration};

use nickel_lang_core::{
    eval::{
        Closure,
        cache::{BlackholedError, Cache, CacheIndex, lazy::CBNCache},
        value::NickelValue,
    },
    identifier::Ident,
    term::{BindingType, record::FieldDeps},
};
use rustix::time::{ClockId, clock_gettime};

/// What an evaluation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvalLimits {
    /// Thunks made or entered; about three million a second.
    pub operations: u64,
    /// Processor time: on a busy machine an evaluation may take as long as it likes.
    pub time: Duration,
    /// Bytes by which the process may grow.
    pub memory: u64,
}

impl Default for EvalLimits {
    fn default() -> Self {
        Self { operations: 1_000_000_000, time: Duration::from_mins(1), memory: 4 << 30 }
    }
}

/// The limit that an evaluation went beyond: the payload of the unwinding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Operations,
    Time,
    Memory,
}

/// Nickel's own cache, counting.
pub(crate) struct Budget {
    inner: CBNCache,
    operations: u64,
    limits: EvalLimits,
    deadline: Option<Duration>,
    memory: Option<Memory>,
}

/// How large this process is, by the kernel's account; absent where there is no /proc.
struct Memory {
    statm: File,
    most: u64,
}

/// Strings and arrays from this length on cause a look at the memory at once: they may double each time.
const LARGE: usize = 1 << 22;

impl Memory {
    fn new(limit: u64) -> Option<Self> {
        let statm = File::open("/proc/self/statm").ok()?;
        let mut memory = Self { statm, most: 0 };
        memory.most = memory.resident()?.saturating_add(limit);
        Some(memory)
    }

    fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages.saturating_mul(rustix::param::page_size() as u64))
    }
}

impl Budget {
    /// Starts counting.
    pub(crate) fn start(&mut self, limits: EvalLimits) {
        self.limits = limits;
        self.deadline = processor_time().checked_add(limits.time);
        self.memory = Memory::new(limits.memory);
    }

    #[inline]
    fn tick(&mut self) {
        self.operations += 1;
        if self.operations.is_multiple_of(1024) {
            self.look();
        }
    }

    fn look(&self) {
        if self.operations > self.limits.operations {
            exceed(Exceeded::Operations);
        }
        if self.deadline.is_some_and(|deadline| processor_time() > deadline) {
            exceed(Exceeded::Time);
        }
        let grown = |m: &Memory| m.resident().is_some_and(|resident| resident > m.most);
        if self.memory.as_ref().is_some_and(grown) {
            exceed(Exceeded::Memory);
        }
    }

    fn large(value: &NickelValue) -> bool {
        value.as_string().is_some_and(|s| s.len() >= LARGE)
            || value.as_array().is_some_and(|a| a.len() >= LARGE)
    }
}

/// What this thread has used of a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn exceed(limit: Exceeded) -> ! {
    // Not a panic: no message, no hook.
    panic::resume_unwind(Box::new(limit))
}

impl Clone for Budget {
    fn clone(&self) -> Self {
        let mut budget = Self::new();
        budget.inner = self.inner.clone();
        budget
    }
}

impl Cache for Budget {
    type UpdateIndex = <CBNCache as Cache>::UpdateIndex;

    fn new() -> Self {
        let limits = EvalLimits { operations: u64::MAX, ..EvalLimits::default() };
        Self { inner: CBNCache::new(), operations: 0, limits, deadline: None, memory: None }
    }

    #[inline]
    fn get(&self, index: CacheIndex) -> Closure {
        self.inner.get(index)
    }

    #[inline]
    fn get_update_index(
        &mut self,
        index: &mut CacheIndex,
    ) -> Result<Option<Self::UpdateIndex>, BlackholedError> {
        self.tick();
        self.inner.get_update_index(index)
    }

    #[inline]
    fn add(&mut self, closure: Closure, binding: BindingType) -> CacheIndex {
        self.tick();
        self.inner.add(closure, binding)
    }

    fn patch<F: Fn(&mut Closure)>(&mut self, index: CacheIndex, patch: F) {
        self.inner.patch(index, patch);
    }

    fn get_then<T, F: FnOnce(&Closure) -> T>(&self, index: CacheIndex, then: F) -> T {
        self.inner.get_then(index, then)
    }

    #[inline]
    fn update(&mut self, closure: Closure, index: Self::UpdateIndex) {
        if Self::large(&closure.value) {
            self.look();
        }
        self.inner.update(closure, index);
    }

    fn reset_index_state(&mut self, index: &mut Self::UpdateIndex) {
        self.inner.reset_index_state(index);
    }

    fn build_cached(&mut self, index: &mut CacheIndex, environment: &[(Ident, CacheIndex)]) {
        self.inner.build_cached(index, environment);
    }

    fn saturate<I: DoubleEndedIterator<Item = Ident> + Clone>(
        &mut self,
        index: CacheIndex,
        fields: I,
    ) -> NickelValue {
        self.inner.saturate(index, fields)
    }

    fn revert(&mut self, index: &CacheIndex) -> CacheIndex {
        self.inner.revert(index)
    }

    fn deps(&self, index: &CacheIndex) -> Option<FieldDeps> {
        self.inner.deps(index)
    }

    fn make_update_index(
        &mut self,
        index: &mut CacheIndex,
    ) -> Result<Self::UpdateIndex, BlackholedError> {
        self.inner.make_update_index(index)
    }
}
