//! The configuration that each step has: an image its own over what it inherits, through every run and
//! package step from the highest image in what it stands on.

use std::{sync::Arc, time::Duration};

use reimage_oci::{Config, ConfigError, OwnConfig, OwnHealthcheck};
use reimage_plan::{self as plan, Plan, StepId, StepKind};

use crate::base::Base;

/// The configuration of each step of `plan`, if it has one; a copy, a source and declared outputs carry none.
/// Fails at the image whose own fields cannot be.
pub(crate) fn of_plan(
    plan: &Plan,
    bases: &[Option<Base>],
) -> Result<Vec<Option<Arc<Config>>>, (StepId, ConfigError)> {
    let mut configs: Vec<Option<Arc<Config>>> = Vec::with_capacity(plan.spec().steps.len());
    for id in plan.ids() {
        let config = match &plan.step(id).kind {
            StepKind::Image(image) => {
                let base = of_stack(&configs, &image.layers);
                let config = Config::inherit(&base, &own(&image.config)).map_err(|e| (id, e))?;
                Some(Arc::new(config))
            }
            StepKind::Oci(_) => bases[id.0].as_ref().map(|base| base.config.clone()),
            StepKind::Debian(debian) => highest(&configs, &debian.from),
            StepKind::Run(run) if run.outputs.is_none() => highest(&configs, &run.from),
            _ => None,
        };
        configs.push(config);
    }
    Ok(configs)
}

/// What a step that stands on `from` inherits: of several configurations the highest, else the empty one.
pub(crate) fn of_stack(configs: &[Option<Arc<Config>>], from: &[StepId]) -> Arc<Config> {
    highest(configs, from).unwrap_or_default()
}

fn highest(configs: &[Option<Arc<Config>>], from: &[StepId]) -> Option<Arc<Config>> {
    from.iter().rev().find_map(|id| configs[id.0].clone())
}

/// The fields of a spec's image as those of an image.
fn own(config: &plan::Config) -> OwnConfig {
    // Taken apart, so that a new field cannot be forgotten.
    let plan::Config {
        entrypoint,
        cmd,
        env,
        labels,
        workdir,
        user,
        expose,
        volumes,
        stop_signal,
        shell,
        author,
        healthcheck,
    } = config.clone();
    let healthcheck = healthcheck.map(|check| {
        let plan::Healthcheck {
            cmd,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
            disable,
        } = check;
        OwnHealthcheck {
            cmd,
            interval: interval.map(nanoseconds),
            timeout: timeout.map(nanoseconds),
            start_period: start_period.map(nanoseconds),
            start_interval: start_interval.map(nanoseconds),
            retries,
            disable,
        }
    });
    OwnConfig {
        entrypoint,
        cmd,
        env,
        labels,
        workdir,
        user,
        expose,
        volumes,
        stop_signal,
        shell,
        author,
        healthcheck,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
