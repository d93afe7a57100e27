//! A Debian root of 1.6 GB as one layer: tar, both digests and compression, beside the encoder alone on all
//! processors, and beside skopeo, buildah and crane compressing the same bytes; and how much memory a layer of 1 GiB
//! takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Bench, Row, SUITE, debian, remove,
    timing::{pair, seconds},
    write,
};
use crate::command::{output, output_of, peak, status};

/// What makes a root of the size, besides what a small one has.
const LARGE: &str =
    r#""build-essential", "clang", "default-jdk-headless", "golang-go", "python3-numpy""#;

const ROUNDS: usize = 5;

pub(super) fn layer(bench: &Bench) -> Result<Vec<Row>, String> {
    let project = bench.at("layer")?;
    let names = debian::names()?;
    let spec = format!(
        r#"let re = import "reimage.ncl" in
let root = {{
  base | re.Debian = {{ suite = "{SUITE}", packages = [{names}, {LARGE}], scripts = 'skip }},
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
    let archive = archive(&plain)?;
    println!("the layer: {} bytes", size(&archive)?);
    let peers = Peers { project: &project, plain: &plain, archive: &archive };
    let mut rows = Vec::new();
    for (compression, work) in
        [("gzip", "a Debian root of 1.6 GB as one layer, gzip"), ("zstd", "the same, zstd")]
    {
        let ours = || {
            // Without its images the store still has every step's result.
            remove(&store.join("oci"))?;
            seconds(|| {
                bench.reimage(&project, &store, &["build", &format!("images.{compression}")])
            })
        };
        for (peer, theirs) in peers.of(compression)? {
            let (theirs, ours) = pair(ROUNDS, theirs, ours)?;
            rows.push(Row { work, peer, theirs, what: "reimage build", ours });
        }
        println!("{compression}: reimage {} bytes", largest(&store.join("oci/blobs/sha256"))?);
    }
    peers.remove()?;
    remove(&plain)?;
    memory(bench, &project, &store)?;
    Ok(rows)
}

/// What does the same with the same bytes.
struct Peers<'a> {
    project: &'a Path,
    /// The image as skopeo's plain directory, with its layer not compressed.
    plain: &'a Path,
    /// That layer.
    archive: &'a Path,
}

/// A peer's work, and how long it takes.
type Work<'a> = Box<dyn FnMut() -> Result<f64, String> + 'a>;

impl Peers<'_> {
    fn of<'a>(&'a self, compression: &'a str) -> Result<Vec<(&'static str, Work<'a>)>, String> {
        let packed = self.project.join("packed");
        let buildah = self.buildah();
        let container = output_of(buildah().args(["from", "scratch"]))?;
        let container = container.trim();
        status(buildah().args(["add", "-q", container]).arg(self.archive).arg("/"))?;
        status(buildah().args(["commit", "-q", "--rm", container, "layer"]))?;
        let profile = format!("{compression}-1");
        let encoder: Work<'a> = Box::new(move || {
            let bench = ["bench", "-q", "--package", "reimage-oci", "--bench", "encoder", "--"];
            let file = self.archive.display().to_string();
            let said = output("cargo", &[&bench[..], &[&profile, &file]].concat())?;
            said.trim().parse().map_err(|_| format!("The encoder said `{said}`"))
        });
        let to = packed.clone();
        let skopeo: Work<'a> = Box::new(move || {
            remove(&to)?;
            let from = format!("dir:{}", self.plain.display());
            let to = format!("oci:{}:x", to.display());
            let flags = ["copy", "-q", "--dest-compress", "--dest-compress-format", compression];
            seconds(|| status(Command::new("skopeo").args(flags).args([from, to])))
        });
        let to = packed.clone();
        let pushed: Work<'a> = Box::new(move || {
            remove(&to)?;
            let to = format!("oci:{}:x", to.display());
            let flags = ["push", "-q", "--compression-format", compression, "layer", &to];
            seconds(|| status(buildah().args(flags)))
        });
        let mut all =
            vec![("the encoder alone", encoder), ("skopeo copy", skopeo), ("buildah push", pushed)];
        if compression == "gzip" && output("crane", &["version"]).is_ok() {
            let crane: Work<'a> = Box::new(move || {
                remove(&packed)?;
                fs::create_dir_all(&packed).map_err(|e| e.to_string())?;
                let mut command = Command::new("crane");
                command.args(["append", "--oci-empty-base", "-t", "x:1", "-f"]).arg(self.archive);
                command.arg("-o").arg(packed.join("x.tar"));
                seconds(|| status(&mut command))
            });
            all.push(("crane append", crane));
        }
        Ok(all)
    }

    /// buildah with a store of its own.
    fn buildah(&self) -> impl Fn() -> Command + use<> {
        let directory = self.project.join("buildah");
        move || {
            let mut command = Command::new("buildah");
            command.arg("--root").arg(directory.join("root"));
            command.arg("--runroot").arg(directory.join("run")).args(["--storage-driver", "vfs"]);
            command
        }
    }

    fn remove(&self) -> Result<(), String> {
        ["buildah", "packed"].iter().try_for_each(|name| remove(&self.project.join(name)))
    }
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

/// The largest file of a directory.
fn archive(directory: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let largest = files.max_by_key(|path| size(path).unwrap_or(0));
    largest.ok_or_else(|| format!("{} is empty", directory.display()))
}

fn largest(directory: &Path) -> Result<u64, String> {
    size(&archive(directory)?)
}

fn size(path: &Path) -> Result<u64, String> {
    Ok(fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?.len())
}
