//! A Debian root as one layer: tar, both digests and compression, beside skopeo compressing the same bytes; and how
//! much memory a layer of 1 GiB takes.

use std::{fs, path::Path, process::Command};

use super::{
    Bench, Row, SUITE, debian, remove,
    timing::{pair, seconds},
    write,
};
use crate::command::{peak, status};

pub(super) fn layer(bench: &Bench) -> Result<Vec<Row>, String> {
    let project = bench.at("layer")?;
    let names = debian::names()?;
    let spec = format!(
        r#"let re = import "reimage.ncl" in
let root = {{
  base | re.Debian = {{ suite = "{SUITE}", packages = [{names}] }},
  copy | re.Copy = {{ from = base }},
}} in
{{
  steps = root & {{ big | re.Copy = {{ from = re.local {{ path = "big" }} }} }},
  images = {{
    gzip | re.Image = {{ layers = [root.copy], compression = 'gzip }},
    zstd | re.Image = {{ layers = [root.copy], compression = 'zstd }},
    big_gzip | re.Image = {{ layers = [steps.big], compression = 'gzip }},
    big_zstd | re.Image = {{ layers = [steps.big], compression = 'zstd }},
  }},
}} | re.Spec
"#
    );
    write(&project.join("spec.ncl"), &spec)?;
    let store = bench.at("stores/layer")?;
    bench.reimage(&project, &store, &["build", "images.gzip"])?;
    let plain = project.join("plain");
    uncompressed(bench, &project, &store, &plain)?;
    println!("the layer: {} bytes", largest(&plain)?);
    let mut rows = Vec::new();
    for (compression, work) in
        [("gzip", "a Debian root as one layer, gzip"), ("zstd", "a Debian root as one layer, zstd")]
    {
        let target = format!("images.{compression}");
        let packed = project.join("packed");
        let (theirs, ours) = pair(
            7,
            || {
                remove(&packed)?;
                let from = format!("dir:{}", plain.display());
                let to = format!("oci:{}:x", packed.display());
                let flags =
                    ["copy", "-q", "--dest-compress", "--dest-compress-format", compression];
                seconds(|| status(Command::new("skopeo").args(flags).args([from, to])))
            },
            || {
                // Without its images the store still has every step's result.
                remove(&store.join("oci"))?;
                seconds(|| bench.reimage(&project, &store, &["build", &target]))
            },
        )?;
        println!(
            "{compression}: skopeo {} bytes, reimage {} bytes",
            largest(&packed.join("blobs/sha256"))?,
            largest(&store.join("oci/blobs/sha256"))?
        );
        rows.push(Row { work, peer: "skopeo copy", theirs, what: "reimage build", ours });
    }
    remove(&plain)?;
    memory(bench, &project, &store)?;
    Ok(rows)
}

/// Packs 1 GiB in one layer, most of it in one file, and says how much memory that took at most.
fn memory(bench: &Bench, project: &Path, store: &Path) -> Result<(), String> {
    let program = fs::read(&bench.reimage).map_err(|e| e.to_string())?;
    let content: Vec<u8> = program.iter().copied().cycle().take(1 << 30).collect();
    fs::create_dir_all(project.join("big")).map_err(|e| e.to_string())?;
    fs::write(project.join("big/file"), content).map_err(|e| e.to_string())?;
    bench.reimage(project, store, &["build", "steps.big"])?;
    for target in ["images.big_gzip", "images.big_zstd"] {
        let mut command = Command::new(&bench.reimage);
        command.args(["build", target, "--store"]).arg(store).current_dir(project);
        println!("{target}, 1 GiB: at most {} MiB of memory", peak(&mut command)? >> 20);
    }
    remove(&project.join("big"))
}

/// The image as skopeo's plain directory, with its layer not compressed. In a layout it would be: skopeo compresses
/// what it writes there.
fn uncompressed(bench: &Bench, project: &Path, store: &Path, to: &Path) -> Result<(), String> {
    remove(to)?;
    let saved = project.join("saved");
    remove(&saved)?;
    let path = saved.display().to_string();
    bench.reimage(project, store, &["save", "images.gzip", "--format", "oci-dir", "-o", &path])?;
    let name = output_name(&saved)?;
    let from = format!("oci:{}{name}", saved.display());
    let dest = format!("dir:{}", to.display());
    status(Command::new("skopeo").args(["copy", "-q", "--dest-decompress", &from, &dest]))?;
    remove(&saved)
}

/// `:NAME` of the only image of a layout, if it has one.
fn output_name(layout: &Path) -> Result<String, String> {
    let text = fs::read_to_string(layout.join("index.json")).map_err(|e| e.to_string())?;
    let index: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let name = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    Ok(name.as_str().map_or(String::new(), |name| format!(":{name}")))
}

fn largest(directory: &Path) -> Result<u64, String> {
    let entries = fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    Ok(entries.flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).max().unwrap_or(0))
}
