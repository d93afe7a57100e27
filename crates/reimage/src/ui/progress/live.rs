//! Live lines at the foot of a terminal: what runs, since when, what is on its way, and a summary.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Update, plain::Lines};
use crate::ui::{Style, Ui, bytes, duration};

/// Most running steps that get a line of their own.
const MOST_LINES: usize = 8;

/// How often the elapsed times move.
const TICK: Duration = Duration::from_millis(100);

/// A live display and what it knows.
#[derive(Debug)]
pub(super) struct Live {
    lines: Lines,
    style: Style,
    screen: MultiProgress,
    summary: ProgressBar,
    since: Instant,
    drawn: Instant,
    running: BTreeMap<usize, Running>,
    downloads: Downloads,
    done: usize,
    fresh: usize,
    failed: usize,
}

#[derive(Debug)]
struct Running {
    name: String,
    since: Instant,
    last: String,
    bar: Option<ProgressBar>,
}

/// What is on its way, all together: single packages flash by too fast to read.
#[derive(Debug, Default)]
struct Downloads {
    /// Bytes received and expected by name.
    files: BTreeMap<String, (u64, u64)>,
    bar: Option<ProgressBar>,
    /// When something of it arrived last.
    moved: Option<Instant>,
}

/// How long a download is shown after all of it is here: more often follow at once.
const LINGER: Duration = Duration::from_secs(1);

impl Live {
    pub(super) fn new(ui: &Ui) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12));
        let summary = screen.add(line());
        Self {
            lines: Lines::new(ui),
            style: ui.err,
            screen,
            summary,
            since: Instant::now(),
            drawn: Instant::now(),
            running: BTreeMap::new(),
            downloads: Downloads::default(),
            done: 0,
            fresh: 0,
            failed: 0,
        }
    }

    /// Shows updates until there are no more; then nothing is left but the lines that stay.
    pub(super) fn run<E>(
        mut self,
        events: &Receiver<E>,
        mut updates: impl FnMut(E) -> Vec<Update>,
    ) {
        loop {
            match events.recv_timeout(TICK) {
                Ok(event) => updates(event).into_iter().for_each(|update| self.take(update)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.drawn.elapsed() >= TICK {
                self.draw();
                self.drawn = Instant::now();
            }
        }
        if let Some(line) = self.lines.fetched() {
            let _ = self.screen.println(line);
        }
        let _ = self.screen.clear();
    }

    fn take(&mut self, update: Update) {
        for line in self.lines.of(&update) {
            let _ = self.screen.println(line);
        }
        match update {
            Update::StepStarted { step, name } => {
                let running =
                    Running { name, since: Instant::now(), last: String::new(), bar: None };
                self.running.insert(step, running);
            }
            Update::StepOutput { step, lines, .. } => {
                let last = lines.into_iter().rfind(|line| !line.trim().is_empty());
                if let (Some(running), Some(last)) = (self.running.get_mut(&step), last) {
                    running.last = last;
                }
            }
            Update::StepFinished { step, .. } => {
                self.done += 1;
                self.ended(step);
            }
            Update::StepFailed { step, .. } => {
                self.failed += 1;
                self.ended(step);
            }
            Update::StepFresh { .. } => self.fresh += 1,
            Update::Download { name, received, total } => {
                self.downloads.files.insert(name, (received, total.unwrap_or(received)));
                self.downloads.moved = Some(Instant::now());
                if self.downloads.bar.is_none() {
                    let bar = self.screen.insert_before(&self.summary, line());
                    self.downloads.bar = Some(bar);
                }
            }
            Update::Warning { .. } => {}
        }
    }

    /// Takes away the line of a step that runs no more.
    fn ended(&mut self, step: usize) {
        if let Some(bar) = self.running.remove(&step).and_then(|running| running.bar) {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
    }

    fn draw(&mut self) {
        let style = self.style;
        let shown = self.running.values().filter(|running| running.bar.is_some()).count();
        let without = self.running.values_mut().filter(|running| running.bar.is_none());
        for running in without.take(MOST_LINES.saturating_sub(shown)) {
            running.bar = Some(self.screen.insert_before(&self.summary, line()));
        }
        for running in self.running.values() {
            let Some(bar) = &running.bar else { continue };
            let elapsed = style.dim(&format!("{:>6}", duration(running.since.elapsed())));
            let name = style.bold(&running.name);
            bar.set_message(format!("{elapsed} {name} {}", style.dim(&running.last)));
        }
        self.downloads.draw(&self.screen, style);
        let mut parts = vec![format!("{} done", self.done)];
        if self.fresh > 0 {
            parts.push(format!("{} fresh", self.fresh));
        }
        if self.failed > 0 {
            parts.push(format!("{} failed", self.failed));
        }
        if !self.running.is_empty() {
            parts.push(format!("{} running", self.running.len()));
        }
        let elapsed = style.dim(&format!("{:>6}", duration(self.since.elapsed())));
        self.summary.set_message(format!("{elapsed} {}", parts.join(", ")));
    }
}

impl Downloads {
    fn draw(&mut self, screen: &MultiProgress, style: Style) {
        let Some(bar) = &self.bar else { return };
        let complete = self.files.values().filter(|(received, total)| received >= total).count();
        if complete == self.files.len() && self.moved.is_none_or(|at| at.elapsed() > LINGER) {
            bar.finish_and_clear();
            screen.remove(bar);
            self.bar = None;
            self.files.clear();
            return;
        }
        let received = self.files.values().map(|(received, _)| received).sum();
        let total = self.files.values().map(|(_, total)| total).sum();
        let files = format!("{complete}/{} downloads", self.files.len());
        let amount = format!("{} of {}", bytes(received), bytes(total));
        bar.set_message(format!("       {} {amount}", style.bold(&files)));
    }
}

fn line() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}").expect("the template is a constant");
    ProgressBar::new_spinner().with_style(style)
}
