//! From the record of a step to what the plan knows of it: one function a constructor.

use std::collections::{BTreeMap, BTreeSet};

use nickel_lang_core::eval::value::NickelValue;
use reimage_castore::TreePath;
use reimage_plan::{
    Clock, Command, Compression, Config, Copy, Debian, Entropy, FileContent, FileEntry, Files,
    Healthcheck, Http, Image, Limits, Oci, Platform, Repository, Run, Scripts, StepId, StepKind,
    Unpack,
};

use crate::{
    diagnostic::Diagnostic,
    fields::{Fields, Value},
    local,
    machine::{Fault, Machine},
    words::{
        argv, boolean, date, duration, environment, key_path, list, mode, number, owner, path,
        platform, port, removable, size, stack, step, string, strings, tag, texts,
    },
};

/// What a step's record holds.
pub(crate) enum Content {
    /// A step.
    Step(Box<StepKind>),
    /// A `Run` to merge into: an error where it is to be built.
    Blank,
    /// A step of a later version, with its name.
    Later(&'static str),
}

/// Reads the record of a step of this kind that is built for `asked`; none if something is wrong with it, which
/// `fields` knows.
pub(crate) fn content(kind: &str, fields: &mut Fields, asked: &Platform) -> Option<Content> {
    let kind = match kind {
        "local" => StepKind::Local(local::local(fields)?),
        "files" => StepKind::Files(files(fields)?),
        "http" => StepKind::Http(http(fields)?),
        "git" => return Some(git(fields)),
        "oci" => {
            let image = fields.need("image", image_name)?;
            StepKind::Oci(Oci { image, platform: asked.clone() })
        }
        "debian" => StepKind::Debian(debian(fields, asked)?),
        "run" => return run(fields, asked),
        "copy" => StepKind::Copy(copy(fields)?),
        "image" => StepKind::Image(Box::new(image(fields, asked)?)),
        _ => return None,
    };
    Some(Content::Step(Box::new(kind)))
}

/// `unpack` and `strip`.
pub(crate) fn unpack(fields: &mut Fields) -> Option<Unpack> {
    let unpack = fields.get("unpack", boolean).unwrap_or_default();
    let strip = fields.get("strip", number(0, 4095)).unwrap_or_default();
    unpack.then_some(Unpack { strip })
}

fn files(fields: &mut Fields) -> Option<Files> {
    let files = fields.need("files", |fields, value| {
        let entries = fields.entries(value, |fields, key, value| {
            Ok((key_path(fields, key, "files")?, entry(fields, value)?))
        })?;
        // Equal keys are one field of a record, and `TreePath` reads no two keys alike.
        Ok(entries.into_iter().map(|(_, entry)| entry).collect::<BTreeMap<_, _>>())
    })?;
    let below = |path: &TreePath| {
        let above = path.ancestors().find(|above| {
            files.get(above).is_some_and(|entry| entry.content != FileContent::Directory)
        });
        above.map(|above| (above, path.clone()))
    };
    if let Some((above, path)) = files.keys().find_map(below) {
        let message = format!("`files`: `{path}` lies below `{above}`, which is no directory");
        let label = fields.machine.at(fields.span, "");
        fields.faults.push(Diagnostic::error(message).label(label));
    }
    Some(Files { files })
}

fn entry(fields: &mut Fields, value: &Value) -> Result<FileEntry, Fault> {
    let entry = fields.record(value, |fields| {
        let text = fields.get("text", string).map(FileContent::Text);
        let symlink = fields.get("symlink", string).map(FileContent::Symlink);
        let directory = fields.get("directory", boolean).filter(|yes| *yes);
        let directory = directory.map(|_| FileContent::Directory);
        let chmod = fields.get("chmod", mode);
        let chown = fields.get("chown", owner);
        (text, symlink, directory, chmod, chown)
    })?;
    let content = match entry {
        (Some(FileContent::Text(text)), None, None, ..) => FileContent::Text(text),
        (None, Some(FileContent::Symlink(to)), None, ..) if !to.is_empty() && to.len() < 4096 => {
            FileContent::Symlink(to)
        }
        (None, None, Some(directory), ..) => directory,
        _ => {
            let message = format!(
                "`{}` is to be one of `text`, `symlink` and `directory = true`",
                value.name
            );
            return Err(fields.fault(value, message));
        }
    };
    if matches!(content, FileContent::Symlink(_)) && entry.3.is_some() {
        return Err(fields.fault(value, format!("`{}`: a link has no mode", value.name)));
    }
    Ok(FileEntry { content, chmod: entry.3, chown: entry.4 })
}

fn http(fields: &mut Fields) -> Option<Http> {
    let url = fields.need("url", url);
    let unpack = unpack(fields);
    Some(Http { url: url?, unpack })
}

fn url(fields: &mut Fields, value: &Value) -> Result<String, Fault> {
    let (name, span) = (value.name.clone(), value.span);
    let url = string(fields, value)?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let why = match host {
        None | Some("") => "expected `https://..` or `http://..`",
        Some(host) if host.contains('@') => {
            let message = format!("`{name}` holds credentials");
            let fault = Diagnostic::error(message).label(fields.machine.at(span, ""));
            return Err(vec![fault.note("credentials are the machine's, not the spec's")]);
        }
        Some(_) if url.chars().any(|c| c.is_whitespace() || c.is_control()) => "it holds a blank",
        Some(_) => return Ok(url),
    };
    let message = format!("`{name}`: {why}, got `{url}`");
    Err(vec![Diagnostic::error(message).label(fields.machine.at(span, ""))])
}

fn git(fields: &mut Fields) -> Content {
    fields.need("url", string);
    fields.get("rev", string);
    fields.get("submodules", boolean);
    Content::Later("re.Git")
}

/// A name of an image; whether it is one is said by whoever asks a registry for it.
fn image_name(fields: &mut Fields, value: &Value) -> Result<String, Fault> {
    let image = string(fields, value)?;
    if image.is_empty() || image.contains("://") || image.chars().any(char::is_whitespace) {
        let message = format!("`{}`: expected `NAME[:TAG][@sha256:..]`, got `{image}`", value.name);
        return Err(fields.fault(value, message));
    }
    Ok(image)
}

fn debian(fields: &mut Fields, asked: &Platform) -> Option<Debian> {
    let from = fields.get("from", stack).unwrap_or_default();
    let suite = fields.need("suite", string);
    let packages = fields.get("packages", strings).unwrap_or_default();
    let scripts = fields.get("scripts", tag(&[("run", Scripts::Run), ("skip", Scripts::Skip)]));
    let essential = fields.get("essential", boolean);
    let recommends = fields.get("recommends", boolean).unwrap_or_default();
    let exclude = fields.get("exclude", strings).unwrap_or_default();
    let components = fields.get("components", strings);
    let repositories = fields.get("repositories", list(repository)).unwrap_or_default();
    Some(Debian {
        from,
        suite: suite?,
        packages,
        scripts: scripts.unwrap_or(Scripts::Run),
        essential,
        recommends,
        exclude,
        components,
        repositories,
        platform: asked.clone(),
    })
}

fn repository(fields: &mut Fields, value: &Value) -> Result<Repository, Fault> {
    let read = fields.record(value, |fields| {
        let url = fields.need("url", url);
        let suite = fields.need("suite", string);
        let components = fields.get("components", strings);
        let signed_by = fields.need("signed_by", string);
        Some(Repository { url: url?, suite: suite?, components, signed_by: signed_by? })
    })?;
    read.ok_or_else(Vec::new)
}

/// Processors that a step can be shown.
const MAX_CPUS: i64 = 64;

fn run(fields: &mut Fields, asked: &Platform) -> Option<Content> {
    let from = fields.get("from", stack).unwrap_or_default();
    let inputs = fields.get("inputs", inputs).unwrap_or_default();
    let script = fields.get("script", string);
    let command = fields.get("command", argv);
    let shell = fields.get("shell", argv);
    let env = fields.get("env", environment).unwrap_or_default();
    let user = fields.get("user", string);
    let workdir = fields.get("workdir", path);
    let outputs = fields.get("outputs", list(path));
    let exclude = fields.get("exclude", strings).unwrap_or_default();
    fields.get("network", |fields, value| {
        let network = tag(&[("none", ()), ("recorded", ())]);
        let recorded = value.value.as_enum_tag().is_some_and(|tag| tag.label() == "recorded");
        if recorded {
            return Err(later(fields, value, "`network = 'recorded`"));
        }
        network(fields, value)
    });
    let clock = fields.get("clock", clock);
    let entropy = fields.get("entropy", made_up);
    let stat = fields.get("stat", made_up);
    let cpus = fields.get("cpus", number(1, MAX_CPUS));
    let platform = fields.get("platform", platform).unwrap_or_else(|| asked.clone());
    let limits = fields.get("limits", limits).unwrap_or_default();
    let command = match (script, command) {
        (Some(script), None) => Command::Script { script, shell },
        (None, Some(argv)) => Command::Exec(argv),
        (None, None) => return Some(Content::Blank),
        (Some(_), Some(_)) => {
            let label = fields.machine.at(fields.span, "remove one of them");
            fields
                .faults
                .push(Diagnostic::error("{step} has both `script` and `command`").label(label));
            return None;
        }
    };
    Some(Content::Step(Box::new(StepKind::Run(Run {
        from,
        inputs,
        command,
        env,
        user,
        workdir,
        outputs,
        exclude,
        clock,
        entropy,
        stat,
        cpus,
        platform,
        limits,
    }))))
}

/// `'fixed`, `'real`, or a date at which time begins.
fn clock(fields: &mut Fields, value: &Value) -> Result<Clock, Fault> {
    if value.value.as_enum_tag().is_some() {
        return tag(&[("fixed", Clock::Fixed), ("real", Clock::Real)])(fields, value);
    }
    date(fields, value).map(Clock::At)
}

/// `'fixed` or `'real`.
fn made_up(fields: &mut Fields, value: &Value) -> Result<Entropy, Fault> {
    tag(&[("fixed", Entropy::Fixed), ("real", Entropy::Real)])(fields, value)
}

/// The one sentence about what the language has and this version has not.
fn later(fields: &Fields, value: &Value, what: &str) -> Fault {
    fields.fault(value, format!("{what} is not in this version of reimage yet"))
}

fn inputs(fields: &mut Fields, value: &Value) -> Result<BTreeMap<TreePath, StepId>, Fault> {
    let entries = fields.entries(value, |fields, key, value| {
        Ok((key_path(fields, key, "inputs")?, step(fields, value)?))
    })?;
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

fn limits(fields: &mut Fields, value: &Value) -> Result<Limits, Fault> {
    fields.record(value, |fields| Limits {
        timeout: fields.get("timeout", duration),
        memory: fields.get("memory", size),
        disk: fields.get("disk", size),
        processes: fields.get("processes", number(1, 1 << 22)),
    })
}

fn copy(fields: &mut Fields) -> Option<Copy> {
    let from = fields.need("from", stack);
    let copy = Copy {
        from: Vec::new(),
        path: fields.get("path", path),
        to: fields.get("to", path),
        include: fields.get("include", strings),
        exclude: fields.get("exclude", strings).unwrap_or_default(),
        chown: fields.get("chown", owner),
        chmod: fields.get("chmod", mode),
        mtime: fields.get("mtime", date),
    };
    Some(Copy { from: from?, ..copy })
}

fn image(fields: &mut Fields, asked: &Platform) -> Option<Image> {
    let layers = fields.need("layers", |fields, value| {
        let layers = value.value.as_array().map(|layers| layers.len());
        if layers == Some(0) {
            let label = fields.machine.at(value.span.or(fields.span), "a step, or several");
            return Err(vec![Diagnostic::error("an image without layers").label(label)]);
        }
        stack(fields, value)
    });
    let config = Config {
        entrypoint: fields.get("entrypoint", argv),
        cmd: fields.get("cmd", strings),
        env: fields.get("env", environment).unwrap_or_default(),
        labels: fields.get("labels", removable).unwrap_or_default(),
        workdir: fields.get("workdir", path).map(|path| path.to_string()),
        user: fields.get("user", string),
        expose: fields.get("expose", list(port)).unwrap_or_default().concat(),
        volumes: fields
            .get("volumes", list(path))
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect(),
        stop_signal: fields.get("stop_signal", string),
        shell: fields.get("shell", argv),
        author: fields.get("author", string),
        healthcheck: fields.get("healthcheck", healthcheck),
    };
    let compressions =
        &[("gzip", Compression::Gzip), ("zstd", Compression::Zstd), ("none", Compression::None)];
    let compression = fields.get("compression", tag(compressions)).unwrap_or_default();
    // Those of a target were asked for before it was read; beneath another image they are the other's.
    fields.get("platforms", platforms);
    let image = Image {
        layers: Vec::new(),
        config,
        annotations: fields.get("annotations", texts).unwrap_or_default(),
        platform: asked.clone(),
        compression,
        created: fields.get("created", date),
        tags: fields.get("tags", strings).unwrap_or_default(),
        requires: fields.get("requires", stack).unwrap_or_default(),
    };
    Some(Image { layers: layers?, ..image })
}

/// The platforms that the record of an image names, if it names any; what is wrong with them is said where the image is
/// read.
pub(crate) fn platforms_of(machine: &mut Machine, record: &NickelValue) -> Option<Vec<Platform>> {
    Fields::of_step(machine, record, None, "Image").get("platforms", platforms)
}

fn platforms(fields: &mut Fields, value: &Value) -> Result<Vec<Platform>, Fault> {
    let platforms = list(platform)(fields, value)?;
    if platforms.is_empty() {
        return Err(fields.fault(value, "`platforms` names no platform"));
    }
    let mut seen = BTreeSet::new();
    match platforms.iter().find(|platform| !seen.insert(*platform)) {
        Some(twice) => Err(fields.fault(value, format!("`platforms` names `{twice}` twice"))),
        None => Ok(platforms),
    }
}

fn healthcheck(fields: &mut Fields, value: &Value) -> Result<Healthcheck, Fault> {
    fields.record(value, |fields| Healthcheck {
        cmd: fields.get("cmd", argv),
        interval: fields.get("interval", duration),
        timeout: fields.get("timeout", duration),
        start_period: fields.get("start_period", duration),
        start_interval: fields.get("start_interval", duration),
        retries: fields.get("retries", number(0, 1_000_000)),
        disable: fields.get("disable", boolean).unwrap_or_default(),
    })
}
