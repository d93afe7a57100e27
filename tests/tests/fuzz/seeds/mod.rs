//! Inputs that are read well, for fuzzers to start from: at least one for each target.

use reimage_castore::FuzzTarget;

mod build;
mod castore;
mod fetch;
mod oci;
mod plan;
mod registry;
mod remote;
mod spec;

/// Every parser of foreign bytes, of all crates; `spec`: those of the crate `spec`, which brings all of Nickel along.
pub(crate) fn targets(spec: &[FuzzTarget]) -> Vec<FuzzTarget> {
    [
        reimage_castore::FUZZ_TARGETS,
        reimage_fetch::FUZZ_TARGETS,
        reimage_oci::FUZZ_TARGETS,
        reimage_plan::FUZZ_TARGETS,
        reimage_registry::FUZZ_TARGETS,
        reimage_remote::FUZZ_TARGETS,
        spec,
        reimage_build::FUZZ_TARGETS,
    ]
    .concat()
}

/// Inputs of the target of this name.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    [
        castore::seeds,
        fetch::seeds,
        oci::seeds,
        plan::seeds,
        registry::seeds,
        remote::seeds,
        spec::seeds,
        build::seeds,
    ]
    .iter()
    .find_map(|seeds| seeds(target))
    .unwrap_or_else(|| panic!("no seeds for `{target}`"))
}

/// The same from text.
fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
