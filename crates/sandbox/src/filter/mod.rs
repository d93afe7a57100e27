//! The seccomp filter of a step: what is refused, what does nothing, what the monitor answers.
//!
//! The assembler is our own: the released `seccompiler` knows no user notifications, `libseccomp` is a
//! C library.

mod assemble;
mod deny;

pub(crate) use assemble::{ARCH, Action, Rule, When, assemble};
pub(crate) use deny::{baseline, fixed_clock, fixed_entropy, fixed_machine};
