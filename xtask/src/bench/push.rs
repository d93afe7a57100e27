//! A last small layer, in which one line changed, built and pushed to docker-registry on loopback: by a machine that
//! has all before it, and by one that has nothing but the team's cache. Beside BuildKit, if this machine has it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Bench, Row, SUITE, Stores,
    app::application,
    buildkit::Buildkit,
    timing::{median, seconds},
    write,
};
use crate::registry::Registry;

const ROUNDS: usize = 5;

/// What is said of the image that BuildKit pushes, and with which argument its layers have times that are not the clock's.
const PLAIN: &str = "";
const REWRITTEN: &str = ",rewrite-timestamp=true";
const EPOCH: &str = "--opt=build-arg:SOURCE_DATE_EPOCH=1700000000";

pub(super) fn push(bench: &Bench) -> Result<Vec<Row>, String> {
    let project = bench.at("push")?;
    let spec = format!(
        r#"let re = import "reimage.ncl" in
{{
  steps = {{
    base | re.Debian = {{ suite = "{SUITE}", packages = ["python3", "ca-certificates"] }},
    source | re.Copy = {{ from = re.local {{ path = "context/app" }}, to = "/opt/app" }},
    app | re.Run = {{ from = [base, source], script = "python3 -m compileall -q /opt/app" }},
    conf | re.Copy = {{ from = re.local {{ path = "context/conf" }}, to = "/etc/app.conf" }},
  }},
  images = {{
    app | re.Image = {{ layers = [steps.app, steps.conf], tags = ["app:1"] }},
    base | re.Image = {{ layers = [steps.base] }},
  }},
}} | re.Spec
"#
    );
    write(&project.join("spec.ncl"), &spec)?;
    application(&project.join("context/app"))?;
    let registry = Registry::start(&bench.directory.join("registry"))?;
    let us = Us { bench, store: bench.at("stores/push")?, project, host: registry.host() };
    us.change("before")?;
    us.push(&us.store, "base", "base:1", &[])?;
    us.push(&us.store, "app", "app:us", &[])?;
    let peer = Peer::start(&us)?;
    let mut rows = changed(&us, peer.as_ref(), &registry)?;
    drop(peer);
    rows.extend(from_the_cache(&us, &registry)?);
    Ok(rows)
}

/// What something took.
#[derive(Clone, Copy)]
struct Took {
    seconds: f64,
    /// That the registry answered.
    requests: usize,
    /// Over the loopback device, both ways.
    bytes: u64,
}

/// Does `work` and says what it took.
fn took(registry: &Registry, work: impl FnOnce() -> Result<(), String>) -> Result<Took, String> {
    let (requests, bytes) = (registry.requests()?, loopback()?);
    let seconds = seconds(work)?;
    Ok(Took { seconds, requests: registry.requests()? - requests, bytes: loopback()? - bytes })
}

/// Bytes that the loopback device has carried.
fn loopback() -> Result<u64, String> {
    let path = "/sys/class/net/lo/statistics/rx_bytes";
    let text = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    text.trim().parse().map_err(|_| format!("{path} holds no number"))
}

/// What one way of doing it took, round by round.
struct Ways(Vec<(&'static str, Vec<Took>)>);

impl Ways {
    fn add(&mut self, way: &'static str, took: Took) {
        let Took { seconds, requests, bytes } = took;
        println!("{seconds:9.4} s, {requests} requests, {bytes} bytes, {way}");
        match self.0.iter_mut().find(|(name, _)| *name == way) {
            Some((_, all)) => all.push(took),
            None => self.0.push((way, vec![took])),
        }
    }

    /// The first way is ours.
    fn rows(&self, work: &'static str) -> Vec<Row> {
        let time = |all: &[Took]| median(all.iter().map(|took| took.seconds).collect());
        let Some(((what, ours), peers)) = self.0.split_first() else { return Vec::new() };
        let row = |(peer, theirs): &(&'static str, Vec<Took>)| Row {
            work,
            peer,
            theirs: time(theirs),
            what,
            ours: time(ours),
        };
        peers.iter().map(row).collect()
    }
}

fn changed(us: &Us<'_>, peer: Option<&Peer>, registry: &Registry) -> Result<Vec<Row>, String> {
    if let Some(peer) = peer {
        peer.push(PLAIN, &[])?;
    }
    let mut ways = Ways(Vec::new());
    for round in 0..ROUNDS {
        us.change(&format!("changed {round}"))?;
        ways.add("reimage push", took(registry, || us.push(&us.store, "app", "app:us", &[]))?);
        if let Some(peer) = peer {
            ways.add("BuildKit", took(registry, || peer.push(PLAIN, &[]))?);
            us.change(&format!("changed again {round}"))?;
            let rewritten = took(registry, || peer.push(REWRITTEN, &[EPOCH.to_owned()]))?;
            ways.add("BuildKit, times rewritten", rewritten);
        }
    }
    for _ in 0..ROUNDS {
        let again = took(registry, || us.push(&us.store, "app", "app:us", &[]))?;
        println!(
            "{:9.4} s, {} requests, {} bytes, nothing changed",
            again.seconds, again.requests, again.bytes
        );
    }
    Ok(ways.rows("one line of the last layer changed, built and pushed"))
}

/// Machines with an empty store each.
fn from_the_cache(us: &Us<'_>, registry: &Registry) -> Result<Vec<Row>, String> {
    us.change("cached")?;
    if !us.project.join("team.pub").exists() {
        us.bench.reimage(&us.project, &us.store, &["cache", "keygen", "team"])?;
    }
    let cache = format!("oci://{}/cache", us.host);
    let mut stores = Stores::new(us.bench.directory.join("stores/cached"))?;
    let (first, trusted) = (stores.next(), ["--cache-trust", "team.pub"]);
    us.push(&first, "app", "app:us", &["--cache-write", &cache, "--cache-key", "team"])?;
    let reference = format!("type=registry,ref={}/cache:bk", us.host);
    let peer = Peer::start(us)?;
    if let Some(peer) = peer {
        peer.push(PLAIN, &[format!("--export-cache={reference},mode=max")])?;
    }
    let mut ways = Ways(Vec::new());
    for round in 0..ROUNDS {
        us.change(&format!("elsewhere {round}"))?;
        let store = stores.next();
        let arguments = [&["--cache", &cache], &trusted[..]].concat();
        ways.add("reimage push", took(registry, || us.push(&store, "app", "app:us", &arguments))?);
        if let Some(peer) = Peer::start(us)? {
            let import = [format!("--import-cache={reference}")];
            ways.add("BuildKit", took(registry, || peer.push(PLAIN, &import))?);
        }
    }
    Ok(ways.rows("the same on an empty machine with a cache in the registry"))
}

/// We, building the project.
struct Us<'a> {
    bench: &'a Bench,
    store: PathBuf,
    project: PathBuf,
    host: String,
}

impl Us<'_> {
    /// Writes the file that is the last layer, as no run before it.
    fn change(&self, text: &str) -> Result<(), String> {
        let text = format!("{} {text}\n", std::process::id());
        write(&self.project.join("context/conf"), &text)
    }

    fn push(
        &self,
        store: &Path,
        image: &str,
        name: &str,
        arguments: &[&str],
    ) -> Result<(), String> {
        let (target, to) = (format!("images.{image}"), format!("{}/{name}", self.host));
        let all = [&["push", &target, &to], arguments].concat();
        self.bench.reimage(&self.project, store, &all).map(drop)
    }
}

/// BuildKit, building the same on the same base.
struct Peer {
    daemon: Buildkit,
    project: PathBuf,
    host: String,
}

impl Peer {
    fn start(us: &Us<'_>) -> Result<Option<Self>, String> {
        let directory = us.bench.directory.join("buildkit");
        let Some(daemon) = Buildkit::start(&directory, Some(&us.host))? else { return Ok(None) };
        let dockerfile = format!(
            "FROM {}/base:1\nCOPY app /opt/app\nRUN python3 -m compileall -q /opt/app\nCOPY conf /etc/app.conf\n",
            us.host
        );
        fs::create_dir_all(us.project.join("docker")).map_err(|e| e.to_string())?;
        fs::write(us.project.join("docker/Dockerfile"), dockerfile).map_err(|e| e.to_string())?;
        Ok(Some(Self { daemon, project: us.project.clone(), host: us.host.clone() }))
    }

    fn push(&self, attributes: &str, arguments: &[String]) -> Result<(), String> {
        let output = format!(
            "--output=type=image,push=true,oci-mediatypes=true,name={}/app:bk{attributes}",
            self.host
        );
        let (dockerfile, context) = (self.project.join("docker"), self.project.join("context"));
        self.daemon.build(&dockerfile, &context, &[&[output], arguments].concat()).map(drop)
    }
}
