//! The configuration that a step inherits: that of the highest image in what it stands on.

use std::{collections::BTreeMap, sync::Arc};

use reimage_plan::{Config, Plan, StepId, StepKind};

/// A configuration with everything inherited put together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct EffectiveConfig {
    /// ENV
    pub(crate) env: BTreeMap<String, String>,
    /// WORKDIR
    pub(crate) workdir: Option<String>,
    /// USER
    pub(crate) user: Option<String>,
    /// All of it, as an image's own fields that inherit nothing.
    pub(crate) all: Config,
}

/// The configuration that each step of `plan` has, if any: an image its own over what it inherits; runs and
/// packages hand on what they stand on; a copy, a source and declared outputs carry none.
pub(crate) fn of_plan(plan: &Plan) -> Vec<Option<Arc<EffectiveConfig>>> {
    let mut configs: Vec<Option<Arc<EffectiveConfig>>> = Vec::with_capacity(plan.spec().steps.len());
    for id in plan.ids() {
        let config = match &plan.step(id).kind {
            StepKind::Image(image) => {
                let base = of_stack(&configs, &image.layers);
                Some(Arc::new(inherit((*base).clone(), &image.config)))
            }
            StepKind::Debian(debian) => highest(&configs, &debian.from),
            StepKind::Run(run) if run.outputs.is_none() => highest(&configs, &run.from),
            _ => None,
        };
        configs.push(config);
    }
    configs
}

/// What a step that stands on `from` inherits: of several configurations the highest, else the empty one.
pub(crate) fn of_stack(configs: &[Option<Arc<EffectiveConfig>>], from: &[StepId]) -> Arc<EffectiveConfig> {
    highest(configs, from).unwrap_or_default()
}

fn highest(configs: &[Option<Arc<EffectiveConfig>>], from: &[StepId]) -> Option<Arc<EffectiveConfig>> {
    from.iter().rev().find_map(|id| configs[id.0].clone())
}

/// Lays an image's own fields over what it inherits: records by name (`null` takes away), ports and volumes
/// are added, the rest is replaced; an `entrypoint` drops an inherited `cmd`, as docker's does.
pub(crate) fn inherit(base: EffectiveConfig, own: &Config) -> EffectiveConfig {
    let mut all = base.all;
    let over = |under: &mut BTreeMap<String, Option<String>>, own: &BTreeMap<String, Option<String>>| {
        under.extend(own.clone());
        under.retain(|_, value| value.is_some());
    };
    over(&mut all.env, &own.env);
    over(&mut all.labels, &own.labels);
    if own.entrypoint.is_some() {
        all.cmd = None;
    }
    macro_rules! replace {
        ($($field:ident),*) => {$(
            if own.$field.is_some() {
                all.$field.clone_from(&own.$field);
            }
        )*};
    }
    replace!(entrypoint, cmd, workdir, user, stop_signal, shell, author, healthcheck);
    if all.healthcheck.as_ref().is_some_and(|check| check.disable) {
        all.healthcheck = own.healthcheck.clone();
    }
    for (list, own) in [(&mut all.expose, &own.expose), (&mut all.volumes, &own.volumes)] {
        list.extend(own.iter().cloned());
        list.sort();
        list.dedup();
    }
    let env = all.env.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    EffectiveConfig { env, workdir: all.workdir.clone(), user: all.user.clone(), all }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Option<Vec<String>> {
        Some(texts.iter().map(|t| (*t).to_owned()).collect())
    }

    #[test]
    fn own_fields_go_over_inherited_ones() {
        let base = Config {
            entrypoint: strings(&["a"]),
            cmd: strings(&["b"]),
            env: [("A".into(), Some("1".into())), ("B".into(), Some("2".into()))].into(),
            expose: vec!["80/tcp".into()],
            user: Some("www".into()),
            ..Config::default()
        };
        let base = inherit(EffectiveConfig::default(), &base);
        let same = inherit(base.clone(), &Config::default());
        assert_eq!(same, base);
        let own = Config {
            entrypoint: strings(&["c"]),
            env: [("A".into(), None), ("C".into(), Some("3".into()))].into(),
            expose: vec!["53/udp".into(), "80/tcp".into()],
            ..Config::default()
        };
        let made = inherit(base, &own);
        assert_eq!(made.all.cmd, None, "an entrypoint drops the inherited cmd");
        assert_eq!(made.env, [("B".into(), "2".into()), ("C".into(), "3".into())].into());
        assert_eq!(made.all.expose, ["53/udp", "80/tcp"]);
        assert_eq!(made.user.as_deref(), Some("www"));
    }
}
