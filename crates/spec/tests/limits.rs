//! Specs without end: stopped with a clear error, whatever they eat.

use std::{fs, time::Duration};

use reimage_spec::{EvalLimits, Request, evaluate, find_project};

/// The error of a spec under these limits.
fn error(text: &str, limits: EvalLimits) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("spec.ncl"), text).expect("written");
    let project = find_project(directory.path()).expect("a spec");
    let error = evaluate(&Request { limits, ..Request::new(&project) }).expect_err("an error");
    error.diagnostics.render(false)
}

const ENDLESS: &str = "let rec f = fun x => f (x + 1) in { images.app = f 0 }";

#[test]
fn endless_recursion_runs_out_of_operations() {
    let limits = EvalLimits { operations: 1_000_000, ..EvalLimits::default() };
    insta::assert_snapshot!(error(ENDLESS, limits), @r"
    error: evaluating the spec takes too long: it was stopped after 1000000 operations
     = look for a function that calls itself without end, or for a list that grows without end
    ");
}

#[test]
fn endless_recursion_runs_out_of_time() {
    let limits = EvalLimits { time: Duration::from_millis(300), ..EvalLimits::default() };
    insta::assert_snapshot!(error(ENDLESS, limits), @r"
    error: evaluating the spec takes too long: it was stopped after 0.3 s
     = look for a function that calls itself without end, or for a list that grows without end
    ");
}

#[test]
fn recursion_that_keeps_everything_runs_out_of_memory() {
    let limits = EvalLimits { memory: 200 << 20, ..EvalLimits::default() };
    let text = "let rec f = fun x => [x] @ f (x + 1) in { images.app = f 0 }";
    insta::assert_snapshot!(error(text, limits), @r"
    error: evaluating the spec takes too much memory: it was stopped after 200 MiB
     = look for a function that calls itself without end, or for a list that grows without end
    ");
}

#[test]
fn a_string_that_doubles_runs_out_of_memory() {
    let limits = EvalLimits { memory: 200 << 20, ..EvalLimits::default() };
    let text = "let rec f = fun s => f (s ++ s) in { images.app = f \"bomb\" }";
    insta::assert_snapshot!(error(text, limits), @r"
    error: evaluating the spec takes too much memory: it was stopped after 200 MiB
     = look for a function that calls itself without end, or for a list that grows without end
    ");
}

#[test]
fn a_list_that_doubles_runs_out_of_memory() {
    let limits = EvalLimits { memory: 200 << 20, ..EvalLimits::default() };
    let text = "let rec f = fun s => f (s @ s) in { images.app = f [1] }";
    insta::assert_snapshot!(error(text, limits), @r"
    error: evaluating the spec takes too much memory: it was stopped after 200 MiB
     = look for a function that calls itself without end, or for a list that grows without end
    ");
}

#[test]
fn a_value_that_needs_itself() {
    let text = "let rec x = x + 1 in { images.app = x }";
    insta::assert_snapshot!(error(text, EvalLimits::default()), @r"
    error: infinite recursion
      ┌─ spec.ncl:1:13
      │
    1 │ let rec x = x + 1 in { images.app = x }
      │             ^ this needs its own value
      │
      = inside a record, a name means the record's own field of that name
    ");
}
