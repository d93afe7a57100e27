//! Every verb from its command line: what it prints, and what it returns.

#[expect(clippy::disallowed_methods, reason = "the names go into a sorted set")]
#[test]
fn no_file_here_is_forgotten() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli");
    let names = fs_err::read_dir(directory).expect("it is this directory").map(|entry| {
        let name = entry.expect("readable").file_name();
        name.to_string_lossy().trim_end_matches(".rs").to_owned()
    });
    let mut names: std::collections::BTreeSet<_> = names.collect();
    names.remove("main");
    let known: std::collections::BTreeSet<_> =
        MODULES.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(names, known);
}

macro_rules! modules {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        const MODULES: &[&str] = &[$(stringify!($name)),*];
    };
}

modules!(
    archives,
    arguments,
    bad_input,
    baseline,
    build,
    bundle,
    cache,
    cache_registry,
    check,
    completions,
    conditions,
    config,
    doctor,
    exit_codes,
    graph,
    http,
    images,
    init,
    load,
    lock,
    plan,
    prune,
    registries,
    run,
    secrets,
    steps,
    store_faults,
    times,
    together,
    twice,
    verify
);
