//! A chain of 200 tiny steps, beside starting `true` in bwrap as often.

use std::{fmt::Write, fs, os::unix::fs::PermissionsExt, process::Command};

use super::{
    Bench, Row, Stores,
    timing::{pair, seconds},
    write,
};

const STEPS: u16 = 200;

pub(super) fn chain(bench: &Bench) -> Result<Vec<Row>, String> {
    let project = bench.at("chain")?;
    let busybox = project.join("root/busybox");
    let found =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| fs::read(path).ok());
    let found = found.ok_or("No busybox: install busybox-static")?;
    fs::create_dir_all(project.join("root")).map_err(|e| e.to_string())?;
    fs::write(&busybox, found).map_err(|e| e.to_string())?;
    fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
    let mut spec = "let re = import \"reimage.ncl\" in\n\
         let s0 | re.Copy = { from = re.local { path = \"root\" }, to = \"/bin\" } in\n"
        .to_owned();
    for number in 1..=STEPS {
        let below = number - 1;
        let _ = writeln!(
            spec,
            "let s{number} | re.Run = {{ from = s{below}, command = [\"/bin/busybox\", \"sh\", \"-c\", \"echo {number} > /f{number}\"] }} in"
        );
    }
    let _ = writeln!(spec, "{{ steps.last = s{STEPS} }} | re.Spec");
    write(&project.join("spec.ncl"), &spec)?;
    let mut stores = Stores::new(bench.directory.join("stores/chain"))?;
    let mut store = stores.next();
    let (theirs, ours) = pair(
        5,
        || {
            seconds(|| {
                for _ in 0..STEPS {
                    let status = Command::new("bwrap")
                        .args(["--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc"])
                        .args(["--dev", "/dev", "true"])
                        .status();
                    if !status.is_ok_and(|status| status.success()) {
                        return Err("bwrap failed".to_owned());
                    }
                }
                Ok(())
            })
        },
        || {
            store = stores.next();
            seconds(|| bench.reimage(&project, &store, &["build", "steps.last"]))
        },
    )?;
    let (_, no_op) = pair(
        5,
        || Ok(0.0),
        || seconds(|| bench.reimage(&project, &store, &["build", "steps.last"])),
    )?;
    let each = f64::from(STEPS);
    Ok(vec![
        Row {
            work: "chain of 200 tiny steps, each",
            peer: "`true` in bwrap, nothing kept",
            theirs: theirs / each,
            what: "reimage build",
            ours: ours / each,
        },
        Row {
            work: "the chain again, nothing changed",
            peer: "the chain",
            theirs: ours,
            what: "reimage build",
            ours: no_op,
        },
    ])
}
