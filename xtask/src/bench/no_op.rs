//! A Python application of 5,000 files on Debian: nothing changed, and one file changed.

use std::{fmt::Write, fs, path::Path};

use super::{
    Bench, Row, SUITE,
    timing::{median, pair, seconds},
    write,
};

const FILES: usize = 5000;

pub(super) fn no_op(bench: &Bench) -> Result<Vec<Row>, String> {
    let project = bench.at("app")?;
    let store = bench.at("stores/app")?;
    let spec = format!(
        r#"let re = import "reimage.ncl" in
{{
  steps = {{
    base | re.Debian = {{ suite = "{SUITE}", packages = ["python3", "ca-certificates"] }},
    source | re.Copy = {{ from = re.local {{ path = "app" }}, to = "/opt/app" }},
    app | re.Run = {{ from = [base, source], script = "python3 -m compileall -q /opt/app" }},
  }},
  images.app | re.Image = {{ layers = [steps.app], tags = ["app:1"] }},
}} | re.Spec
"#
    );
    write(&project.join("spec.ncl"), &spec)?;
    for number in 0..FILES {
        let (name, text) = file(number);
        write(&project.join("app").join(name), &text)?;
    }
    bench.reimage(&project, &store, &["build"])?;

    let (walk, no_op) = pair(
        20,
        || seconds(|| walk(&project.join("app")).map_err(|e| e.to_string())),
        || seconds(|| bench.reimage(&project, &store, &["build"])),
    )?;
    let mut rows = vec![Row {
        work: "no-op build, 5,000 files",
        peer: "one lstat a file",
        theirs: walk,
        what: "reimage build",
        ours: no_op,
    }];

    // One module gets another constant; what counts is what comes on top of the step's own command.
    let module = project.join("app").join(file(0).0);
    let (mut whole, mut step) = (Vec::new(), Vec::new());
    let begun = std::process::id();
    for round in 0..7 {
        fs::write(&module, format!("{}\nROUND = {begun}{round}\n", file(0).1))
            .map_err(|e| e.to_string())?;
        let mut events = String::new();
        whole.push(seconds(|| {
            events = bench.reimage(&project, &store, &["build", "--format", "json"])?.1;
            Ok(())
        })?);
        step.push(step_seconds(&events)?);
    }
    let beyond = whole.iter().zip(&step).map(|(whole, step)| whole - step).collect();
    rows.push(Row {
        work: "one file of them changed",
        peer: "the step itself",
        theirs: median(step),
        what: "beyond it",
        ours: median(beyond),
    });
    write(&module, &file(0).1)?;
    Ok(rows)
}

/// Seconds of the step that ran.
fn step_seconds(events: &str) -> Result<f64, String> {
    let mut sum = 0.0;
    for line in events.lines() {
        let event: serde_json::Value =
            serde_json::from_str(line).map_err(|e| format!("An event is no JSON: {e}: {line}"))?;
        if event["event"] == "step-finished" {
            sum += event["seconds"].as_f64().unwrap_or(0.0);
        }
    }
    Ok(sum)
}

/// The file of this number: one in five a module of Python, the others data, 8 kB each.
fn file(number: usize) -> (String, String) {
    let directory = number % 50;
    let mut text = String::new();
    // A generator of numbers that needs no crate and is the same everywhere.
    let mut state = number as u64 * 2 + 1;
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let module = number.is_multiple_of(5);
    let mut function = 0;
    while text.len() < 8000 {
        function += 1;
        if module {
            let (a, b) = (next(999), next(99));
            let _ = write!(
                text,
                "def f{function}(a, b={a}):\n    c = a * {b} + b\n    return [x for x in range(c)]\n\n"
            );
        } else {
            let _ = write!(text, "w{:x} ", next(1 << 20));
        }
    }
    let suffix = if module { "py" } else { "txt" };
    (format!("pkg{directory:02}/m{number:04}.{suffix}"), text)
}

fn walk(directory: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        size += if metadata.is_dir() { walk(&path)? } else { metadata.len() };
    }
    Ok(size)
}
