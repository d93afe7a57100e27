//! Evaluates specs: Nickel, and nothing else.
//!
//! A spec is loaded with all it imports, evaluated lazily from the targets asked for, and handed on as a
//! [`Spec`](reimage_plan::Spec): plain data, each step once. **Invariants:** Nickel appears in no other crate;
//! a spec reads no environment, no clock and no file outside its project; every error points at what the user
//! wrote.

mod assemble;
mod blame;
mod budget;
mod catalogue;
mod diagnostic;
mod evaluate;
mod explain;
mod fields;
mod fuzz;
mod kinds;
mod library;
mod list;
mod loader;
mod local;
mod machine;
mod memo;
mod name;
mod outline;
mod overrides;
mod project;
mod sources;
mod stacks;
mod suggest;
mod targets;
mod walk;
mod words;

pub use budget::EvalLimits;
pub use catalogue::reference;
pub use diagnostic::{Diagnostic, Diagnostics, Label, Severity, SpecError};
pub use evaluate::{Evaluated, Request, evaluate};
pub use fuzz::FUZZ_TARGETS;
pub use library::{LIBRARY, LIBRARY_FILE};
pub use list::{Argument, Listed, Listing, list};
pub use name::{FieldPath, Name, NameError, parse_arg, parse_set};
pub use project::{Project, ProjectError, find_project};
