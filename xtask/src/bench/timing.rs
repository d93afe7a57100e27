//! Times of two things done in turns, so that whatever the machine does besides hits both.

use std::time::Instant;

/// Times `theirs` and `ours` in turns, saying each; the medians, in seconds: theirs, ours.
pub(super) fn pair(
    rounds: usize,
    mut theirs: impl FnMut() -> Result<f64, String>,
    mut ours: impl FnMut() -> Result<f64, String>,
) -> Result<(f64, f64), String> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (theirs, ours) = (theirs()?, ours()?);
        println!("{theirs:9.4} s beside {ours:9.4} s");
        first.push(theirs);
        second.push(ours);
    }
    Ok((median(first), median(second)))
}

/// Seconds that `work` takes.
pub(super) fn seconds<T>(work: impl FnOnce() -> Result<T, String>) -> Result<f64, String> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// The middle of `times`.
pub(super) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
