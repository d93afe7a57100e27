//! Locks Debian packages by this machine's own mirrors, and downloads them.
//!
//! `debian_lock CACHE SUITE PACKAGE...`: keeps indexes and packages in the directory CACHE and prints the pins.

#![expect(clippy::print_stdout, reason = "what it prints is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it is run by people, who have a clock")]

use reimage_fetch::{
    HttpConfig, Sources, SourcesConfig,
    debian::{DebianConfig, DebianQuery, Request},
};
use std::{collections::BTreeMap, error::Error, fs, path::Path, time::Instant, time::SystemTime};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [cache, suite, packages @ ..] = &args[..] else {
        return Err("Usage: debian_lock CACHE SUITE PACKAGE...".into());
    };
    let cache = Path::new(cache);
    let sources = Sources::new(SourcesConfig {
        http: HttpConfig::default(),
        debian: DebianConfig::default(),
        root: "/".into(),
        cache: cache.join("indexes"),
        max_size: 1 << 30,
    })?;
    let archives = sources.archives()?;
    let start = Instant::now();
    let request = Request { packages: packages.to_vec(), essential: true, ..Request::default() };
    let locked = archives.lock(&DebianQuery {
        suite,
        components: &["main".to_owned()],
        repositories: &[],
        architecture: "amd64",
        request,
        installed: None,
        keep: &[],
        now: SystemTime::now(),
        newest_seen: &BTreeMap::new(),
    })?;
    for pin in &locked.pin.packages {
        println!("{} {} {} {} {}", pin.suite, pin.name, pin.version, pin.size, pin.sha256);
    }
    for warning in &locked.warnings {
        println!("warning: {warning}");
    }
    println!("locked {} packages in {:?}", locked.pin.packages.len(), start.elapsed());
    let start = Instant::now();
    fs::create_dir_all(cache.join("packages"))?;
    sources
        .downloader()
        .parallel(&locked.pin.packages, |pin| -> Result<(), Box<dyn Error + Send + Sync>> {
            let path = cache.join("packages").join(pin.sha256.hex());
            let mut file = fs::File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)?;
            archives.fetch_package(pin, &[], &mut file, &|_, _| {})?;
            Ok(())
        })
        .map_err(|error| -> Box<dyn Error> { error })?;
    let size: u64 = locked.pin.packages.iter().map(|pin| pin.size).sum();
    println!("fetched {size} bytes in {:?}", start.elapsed());
    Ok(())
}
