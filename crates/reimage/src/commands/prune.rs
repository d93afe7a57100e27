//! `reimage prune`: makes room.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use reimage_castore::Policy;
use serde_json::json;

use crate::{app::App, cli::FormatArgs, error::CommandError, ui::bytes};

/// Make room: remove results that were not used for long, and blobs that no image has
///
/// Images with a name stay, and whatever a build that is running uses. What is removed is built again when it is
/// needed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage prune                      what was not used for 30 days
  reimage prune --keep-size 10g      the least recently used, until 10 GB are left
  reimage prune --all --dry-run      what would go if everything went")]
pub(crate) struct PruneArgs {
    /// Remove what was not used for so long: `12h`, `30d`
    #[arg(long, value_name = "AGE", value_parser = age, default_value = "30d")]
    older_than: Duration,
    /// Remove the least recently used until so much is left: `500m`, `10g`
    #[arg(long, value_name = "SIZE", value_parser = size)]
    keep_size: Option<u64>,
    /// Remove everything that nothing uses
    #[arg(long, conflicts_with_all = ["older_than", "keep_size"])]
    all: bool,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &PruneArgs, app: &App) -> Result<ExitCode, CommandError> {
    let config = app.config()?;
    let store = App::store(&config)?;
    let age = if args.all { Duration::ZERO } else { args.older_than };
    let pruned = store.prune(&Policy {
        now: app.machine.time(),
        max_size: args.keep_size,
        max_age: Some(age),
        keep: std::collections::BTreeSet::new(),
        dry_run: args.dry_run,
    })?;
    let (blobs, freed) = if args.dry_run {
        (0, 0)
    } else {
        let pruned = app.layout()?.prune()?;
        (pruned.blobs, pruned.bytes)
    };
    if app.ui.json() {
        app.ui.value(&json!({
            "dry_run": args.dry_run,
            "store": {
                "results": pruned.results, "roots": pruned.roots, "blobs": pruned.blobs,
                "freed": pruned.freed, "kept": pruned.kept,
            },
            "images": { "blobs": blobs, "freed": freed },
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (verb, space) =
        if args.dry_run { ("Would remove", "would be free") } else { ("Removed", "freed") };
    app.ui.line(format!(
        "{verb} {} results, {} roots and {} blobs of the store: {} {space}, {} kept",
        pruned.results,
        pruned.roots,
        pruned.blobs,
        bytes(pruned.freed),
        bytes(pruned.kept),
    ))?;
    if !args.dry_run {
        app.ui.line(format!("Removed {blobs} blobs of no image: {} freed", bytes(freed)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A number and a unit; `units` are pairs of its letter and what it multiplies by.
fn quantity(text: &str, units: &[(char, u64)], example: &str) -> Result<u64, String> {
    let error = || format!("expected a number and a unit, such as {example}");
    let unit = text.chars().next_back().ok_or_else(error)?;
    let factor = units.iter().find(|(letter, _)| *letter == unit.to_ascii_lowercase());
    let (_, factor) = factor.ok_or_else(error)?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| error())?;
    number.checked_mul(*factor).ok_or_else(error)
}

fn age(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
    quantity(text, &units, "`12h` or `30d`").map(Duration::from_secs)
}

fn size(text: &str) -> Result<u64, String> {
    let units =
        [('b', 1), ('k', 1000), ('m', 1_000_000), ('g', 1_000_000_000), ('t', 1_000_000_000_000)];
    quantity(text, &units, "`500m` or `10g`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes() {
        assert_eq!(age("30d"), Ok(Duration::from_hours(720)));
        assert_eq!(size("10G"), Ok(10_000_000_000));
        for bad in ["", "d", "-1d", "1x", "1", "99999999999999999999d", "1é"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        assert!(size("18446744073709551615k").is_err());
    }
}
