//! One line an event, for logs and for what stays above a live display.

use super::Update;
use crate::ui::{Style, Ui, bytes, duration};

/// Bytes of a download from which on it has a line of its own.
const LARGE: u64 = 16 << 20;

/// Says what happened in lines.
#[derive(Debug)]
pub(super) struct Lines {
    style: Style,
    verbosity: i8,
    /// Whether what has begun is a line, too: where nothing else shows it.
    starts: bool,
    /// Complete downloads that no line has told yet: names and bytes. A hundred packages are one line.
    fetched: Vec<(String, u64)>,
}

impl Lines {
    pub(super) fn new(ui: &Ui) -> Self {
        Self { style: ui.err, verbosity: ui.verbosity, starts: !ui.live, fetched: Vec::new() }
    }

    /// The lines for `update`; perhaps none.
    pub(super) fn of(&mut self, update: &Update) -> Vec<String> {
        if self.verbosity < 0 && !matches!(update, Update::Warning { .. }) {
            return Vec::new();
        }
        if let Update::Download { name, received, total } = update {
            return self.download(name, *received, *total);
        }
        let mut lines = self.event(update);
        if !lines.is_empty() {
            lines.splice(0..0, self.fetched());
        }
        lines
    }

    fn event(&self, update: &Update) -> Vec<String> {
        let style = self.style;
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
            Update::Warning { name, message } => {
                vec![format!("{} {name}: {message}", style.warning("warning:"))]
            }
            _ => Vec::new(),
        }
    }

    /// A line for a large download, and for each if the user wants to know all; the others are summed up.
    fn download(&mut self, name: &str, received: u64, total: Option<u64>) -> Vec<String> {
        if total != Some(received) {
            return Vec::new();
        }
        if self.verbosity >= 1 || received >= LARGE {
            return vec![self.fetched_line(name, received)];
        }
        self.fetched.push((name.to_owned(), received));
        Vec::new()
    }

    /// What was fetched since this was asked last.
    pub(super) fn fetched(&mut self) -> Option<String> {
        let fetched = std::mem::take(&mut self.fetched);
        let size = fetched.iter().map(|(_, size)| size).sum();
        match &fetched[..] {
            [] => None,
            [(name, _)] => Some(self.fetched_line(name, size)),
            many => Some(self.fetched_line(&format!("{} files", many.len()), size)),
        }
    }

    fn fetched_line(&self, what: &str, size: u64) -> String {
        self.line("fetched", &format!("{what} {}", self.style.dim(&bytes(size))))
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
        all(verbosity, starts, std::slice::from_ref(update))
    }

    fn all(verbosity: i8, starts: bool, updates: &[Update]) -> Vec<String> {
        let mut lines = Lines { style: Style::new(false), verbosity, starts, fetched: Vec::new() };
        updates.iter().flat_map(|update| lines.of(update)).collect()
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
    fn downloads_are_summed_up_until_something_else_happens() {
        let file = |name: &str, received, total| Update::Download {
            name: name.into(),
            received,
            total: Some(total),
        };
        let begun = [file("x.deb", 100, 5000), file("y.deb", 100, 100)];
        assert!(all(0, true, &begun).is_empty());
        let then = Update::StepStarted { step: 1, name: "a".into() };
        let one = [file("x.deb", 5000, 5000), then.clone(), then.clone()];
        let start = "   start a";
        assert_eq!(all(0, true, &one), [" fetched x.deb 5.0 kB", start, start]);
        let two = [file("x.deb", 5000, 5000), file("y.deb", 100, 100), then];
        assert_eq!(all(0, true, &two), [" fetched 2 files 5.1 kB", start]);
        assert_eq!(all(1, true, &two), [" fetched x.deb 5.0 kB", " fetched y.deb 100 B", start]);
        let large = file("base.tar", LARGE, LARGE);
        assert_eq!(all(0, true, &[large]), [" fetched base.tar 16.7 MB"]);
    }

    #[test]
    fn warnings_even_when_quiet() {
        let warning = Update::Warning { name: "a".into(), message: "old kernel".into() };
        assert_eq!(lines(-1, true, &warning), ["warning: a: old kernel"]);
    }
}
