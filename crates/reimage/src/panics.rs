//! A panic is a bug of ours: it is reported as one, with exit code 70, never as a bare backtrace.

use std::{
    any::Any,
    backtrace::Backtrace,
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError},
};

use crate::error::{CommandError, Kind};

/// Where and why the last panic was; on whatever thread.
static LAST: Mutex<Option<String>> = Mutex::new(None);

/// Makes panics be remembered instead of printed: the evaluator ends an endless spec with one, and says so itself.
pub(crate) fn record() {
    panic::set_hook(Box::new(|info| {
        let message = text(info.payload());
        let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(format!("{message}{place}{backtrace}"));
    }));
}

/// Runs `work`; a panic in it becomes an error.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, CommandError> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
        let what = last.unwrap_or_else(|| text(payload.as_ref()));
        CommandError::new(Kind::Internal, format!("reimage itself failed: {what}")).hint(format!(
            "please report this with the spec that shows it; this is reimage {} and `RUST_BACKTRACE=1` says more",
            env!("CARGO_PKG_VERSION"),
        ))
    })
}

fn text(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_internal_error() {
        let error = catch(|| -> () { panic!("on {}", 7) }).expect_err("it panics");
        assert_eq!((error.kind, error.kind.exit_code()), (Kind::Internal, 70));
        assert!(error.to_string().contains("on 7"), "{error}");
        assert!(error.hints[0].contains("please report"));
    }
}
