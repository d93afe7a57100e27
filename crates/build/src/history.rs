//! What the history of an image says of a layer: the step's content in a line, never its name.

use reimage_plan::{Command, Run, Step, StepKind};

/// Bytes of a script that the history shows.
const LENGTH: usize = 400;

/// The line for the layer that `step` made, with docker's words where it has the word.
pub(crate) fn created_by(step: &Step) -> String {
    let text = match &step.kind {
        StepKind::Run(run) => format!("RUN {}", command(run)),
        StepKind::Debian(debian) => {
            format!("DEBIAN {} {}", debian.suite, debian.packages.join(" "))
        }
        StepKind::Files(files) => {
            let paths: Vec<_> = files.files.keys().map(ToString::to_string).collect();
            format!("FILES {}", paths.join(" "))
        }
        StepKind::Copy(copy) => {
            let path = copy.path.as_ref().map_or_else(|| "/".to_owned(), ToString::to_string);
            let to = copy.to.as_ref().map_or_else(|| path.clone(), ToString::to_string);
            format!("COPY {path} {to}")
        }
        StepKind::Http(http) => format!("ADD {}", http.url),
        StepKind::Oci(oci) => format!("FROM {}", oci.image),
        StepKind::Local(_) => "COPY . /".to_owned(),
        StepKind::Image(_) | StepKind::Index(_) => "FROM".to_owned(),
    };
    let words: Vec<_> = text.split_whitespace().collect();
    let mut line = words.join(" ");
    if line.len() > LENGTH {
        let end = (0..=LENGTH).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push_str(" ..");
    }
    line
}

fn command(run: &Run) -> String {
    match &run.command {
        Command::Exec(command) => command.join(" "),
        // One line a command, as a Dockerfile's RUN has it.
        Command::Script { script, .. } => {
            let lines: Vec<_> =
                script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            lines.join("; ")
        }
    }
}
