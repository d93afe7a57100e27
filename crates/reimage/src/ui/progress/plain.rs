//! One line an event, for logs and for what stays above a live display.

use super::Update;
use crate::ui::{Style, Ui, bytes, duration};

/// Says what happened in lines.
#[derive(Debug)]
pub(super) struct Lines {
    style: Style,
    verbosity: i8,
    /// Whether what has begun is a line, too: where nothing else shows it.
    starts: bool,
}

impl Lines {
    pub(super) fn new(ui: &Ui) -> Self {
        Self { style: ui.err, verbosity: ui.verbosity, starts: !ui.live }
    }

    /// The lines for `update`; perhaps none.
    pub(super) fn of(&mut self, update: &Update) -> Vec<String> {
        let style = self.style;
        if self.verbosity < 0 && !matches!(update, Update::Warning { .. }) {
            return Vec::new();
        }
        match update {
            Update::StepStarted { name, .. } if self.starts => vec![self.line("start", name)],
            Update::StepOutput { name, lines, .. } if self.verbosity >= 1 => {
                let prefix = style.dim(&format!("{name} │"));
                lines.iter().map(|line| format!("{prefix} {line}")).collect()
            }
            Update::StepFinished { name, elapsed, .. } => {
                vec![self.line("done", &format!("{name} {}", style.dim(&duration(*elapsed))))]
            }
            Update::StepFailed { name, .. } => {
                vec![format!("{} {name}", style.error("  failed"))]
            }
            Update::StepFresh { name, .. } if self.verbosity >= 1 => {
                vec![self.line("fresh", name)]
            }
            Update::Download { name, received, total }
                if self.starts && total.is_some_and(|total| total == *received) =>
            {
                vec![self.line("fetched", &format!("{name} {}", style.dim(&bytes(*received))))]
            }
            Update::Warning { name, message } => {
                vec![format!("{} {name}: {message}", style.warning("warning:"))]
            }
            _ => Vec::new(),
        }
    }

    fn line(&self, verb: &str, rest: &str) -> String {
        format!("{} {rest}", self.style.good(&format!("{verb:>8}")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lines(verbosity: i8, starts: bool, update: &Update) -> Vec<String> {
        Lines { style: Style::new(false), verbosity, starts }.of(update)
    }

    #[test]
    fn a_step() {
        let name = "steps.app".to_owned();
        let started = Update::StepStarted { step: 1, name: name.clone() };
        assert_eq!(lines(0, true, &started), ["   start steps.app"]);
        assert!(lines(0, false, &started).is_empty());
        let elapsed = Duration::from_millis(1200);
        let finished = Update::StepFinished { step: 1, name: name.clone(), elapsed };
        assert_eq!(lines(0, false, &finished), ["    done steps.app 1.2s"]);
        assert!(lines(-1, true, &finished).is_empty());
        let failed = Update::StepFailed { step: 1, name: name.clone() };
        assert_eq!(lines(0, false, &failed), ["  failed steps.app"]);
        assert!(lines(-1, true, &failed).is_empty());
        let output = Update::StepOutput { step: 1, name, lines: vec!["a".into(), "b".into()] };
        assert!(lines(0, true, &output).is_empty());
        assert_eq!(lines(1, true, &output), ["steps.app │ a", "steps.app │ b"]);
    }

    #[test]
    fn a_download_is_a_line_when_it_is_complete() {
        let at = |received| Update::Download { name: "x.deb".into(), received, total: Some(5000) };
        assert!(lines(0, true, &at(100)).is_empty());
        assert_eq!(lines(0, true, &at(5000)), [" fetched x.deb 5.0 kB"]);
    }

    #[test]
    fn warnings_even_when_quiet() {
        let warning = Update::Warning { name: "a".into(), message: "old kernel".into() };
        assert_eq!(lines(-1, true, &warning), ["warning: a: old kernel"]);
    }
}
