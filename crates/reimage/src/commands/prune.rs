//! `reimage prune`: makes room.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use clap::Args;
use reimage_build::pinned_files;
use reimage_castore::{Action, ActionDigest, Amount, Policy, Store};
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    spec_args::read_lock,
    ui::{Table, bytes},
};

/// Make room: remove results that were not used for long, and blobs that no image has
///
/// What a tag needs stays, what a build that is running has used, and the sources that the locks pin which were built
/// from here and are still there. What is removed is made again when it is needed, the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage prune                        what was not used for 30 days
  reimage prune --keep-storage 10GB    the least recently used, until 10 GB are left
  reimage prune --min-free 20GB        the same, until the disk has 20 GB free
  reimage prune --all --dry-run        what would go if everything went that nothing needs

Prints what went, by kind, and how much room it took.")]
pub(crate) struct PruneArgs {
    /// Remove what was not used for so long: `12h`, `7d`; `30d` if nothing else is said
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Remove the least recently used until the store takes so much: `500MB`, `10GB`
    #[arg(long, value_name = "SIZE", value_parser = size)]
    keep_storage: Option<u64>,
    /// Remove the least recently used until so much of the disk is free
    #[arg(long, value_name = "SIZE", value_parser = size)]
    min_free: Option<u64>,
    /// Remove everything that nothing needs
    #[arg(short, long, conflicts_with_all = ["older_than", "keep_storage", "min_free"])]
    all: bool,
    /// Also what locks pin: it has to be fetched again, and may be gone where it was
    #[arg(long)]
    pinned: bool,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// What is removed if nothing else is said: what was not used for 30 days.
const AGE: Duration = Duration::from_hours(30 * 24);

/// Runs it.
pub(crate) fn run(args: &PruneArgs, app: &App) -> Result<ExitCode, CommandError> {
    let store = App::store(&app.config()?)?;
    let layout = app.layout()?;
    let policy = Policy {
        now: app.machine.time(),
        max_size: args.keep_storage,
        min_free: args.min_free,
        max_age: args.age(),
        keep: if args.pinned { BTreeSet::new() } else { pinned(&store, args.dry_run)? },
        dry_run: args.dry_run,
    };
    if !policy.dry_run && layout.is_in_use() {
        app.ui.note("Waiting until nobody adds images");
    }
    let images = layout.prune(&policy)?;
    let pruned = store.prune(&policy)?;
    let both = |a: Amount, b: Amount| Amount { count: a.count + b.count, bytes: a.bytes + b.bytes };
    let kinds = [
        ("results", "Results of steps", pruned.results),
        ("roots", "Roots laid out for steps", pruned.roots),
        ("blobs", "Blobs of results", pruned.blobs),
        ("images", "Blobs of no image", images.blobs),
        ("memos", "Memos", both(pruned.memos, images.memos)),
        ("indexes", "Package indexes", pruned.indexes),
        ("partial", "Downloads that broke off", both(pruned.partial, images.partial)),
        ("damaged", "Damaged files", both(pruned.damaged, images.damaged)),
    ];
    let freed = pruned.freed() + images.freed();
    if app.ui.json() {
        let kinds: serde_json::Map<_, _> = kinds
            .iter()
            .map(|(key, _, a)| ((*key).to_owned(), json!({ "count": a.count, "bytes": a.bytes })))
            .collect();
        app.ui.value(&json!({
            "dry_run": args.dry_run, "removed": kinds, "freed": freed, "kept": pruned.kept,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["WHAT", "COUNT", "SIZE"]);
    for (_, what, amount) in kinds.into_iter().filter(|(_, _, amount)| amount.count > 0) {
        table.row([what.to_owned(), amount.count.to_string(), bytes(amount.bytes)]);
    }
    if freed > 0 {
        app.ui.lines(table.lines())?;
    }
    let verb = if args.dry_run { "Would free" } else { "Freed" };
    app.ui.line(format!("{verb} {}; the store keeps {}", bytes(freed), bytes(pruned.kept)))?;
    Ok(ExitCode::SUCCESS)
}

impl PruneArgs {
    fn age(&self) -> Option<Duration> {
        let other = self.keep_storage.is_some() || self.min_free.is_some();
        match self.older_than {
            _ if self.all => Some(Duration::ZERO),
            None if !other => Some(AGE),
            age => age,
        }
    }
}

/// The sources that a lock pins which is still there; one that cannot be read is an error, for who knows what it pins.
fn pinned(store: &Store, dry_run: bool) -> Result<BTreeSet<ActionDigest>, CommandError> {
    let mut keep = BTreeSet::new();
    for path in store.locks()? {
        let read = read_lock(&path).map_err(|error| {
            error.hint("what it pins is not known: repair or remove it, or say `--pinned`")
        })?;
        match read {
            Some(lock) => {
                let files = pinned_files(&lock).into_iter();
                keep.extend(files.map(|(sha256, _)| Action::Fetch(sha256).digest()));
            }
            None if !dry_run => store.forget_lock(&path)?,
            None => {}
        }
    }
    Ok(keep)
}

/// A number and a unit; `units` are pairs of its name and what it multiplies by.
fn quantity(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let error = || format!("expected a number and a unit, such as {example}");
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
    let (number, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name));
    let (_, factor) = factor.ok_or_else(error)?;
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(*factor).ok_or_else(error)
}

fn age(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];
    quantity(text, &units, "`12h` or `7d`").map(Duration::from_secs)
}

/// In powers of 1000, as sizes are shown.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("b", 1),
        ("k", 1000),
        ("kb", 1000),
        ("m", 1_000_000),
        ("mb", 1_000_000),
        ("g", 1_000_000_000),
        ("gb", 1_000_000_000),
        ("t", 1_000_000_000_000),
        ("tb", 1_000_000_000_000),
    ];
    quantity(text, &UNITS, "`500MB` or `10GB`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes() {
        assert_eq!(age("30d"), Ok(Duration::from_hours(720)));
        for ten in ["10G", "10g", "10GB", "10000MB", "10000000000B"] {
            assert_eq!(size(ten), Ok(10_000_000_000), "{ten}");
        }
        for bad in ["", "d", "-1d", "1x", "1", "99999999999999999999d", "1é"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        for bad in ["", "b", "1", "1gg", "1bb", "18446744073709551615k"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
