//! Evaluates a spec, prints what it says and how long that took: `evaluate FILE [NAME..]`, quiet with `-q`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::{env, path::Path, process::ExitCode, time::Instant};

use reimage_spec::{FieldPath, Request, evaluate, find_project};

fn main() -> ExitCode {
    let mut words: Vec<String> = env::args().skip(1).collect();
    let quiet = words.iter().position(|word| word == "-q").map(|at| words.remove(at)).is_some();
    let sets: Vec<String> = words
        .extract_if(.., |word| word.starts_with("--set="))
        .map(|w| w[6..].to_owned())
        .collect();
    let (file, names) = words.split_first().expect("a file");
    let names: Vec<FieldPath> =
        names.iter().map(|name| name.parse().expect("the path of a field")).collect();
    let project = find_project(Path::new(file)).expect("a spec");
    let start = Instant::now();
    let result = evaluate(&Request { names: &names, sets: &sets, ..Request::new(&project) });
    let time = start.elapsed();
    match result {
        Ok(found) => {
            if !quiet {
                println!("{found:#?}");
            }
            for step in &found.spec.steps {
                println!("{}  {}", step.name, step.place);
                if found.spec.steps.len() > 50 {
                    break;
                }
            }
            println!("{} steps, {} visits, {time:?}", found.spec.steps.len(), found.visits);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprint!("{}", error.diagnostics.render(false));
            eprintln!("{time:?}");
            ExitCode::FAILURE
        }
    }
}
