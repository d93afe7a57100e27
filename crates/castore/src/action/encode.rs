//! The canonical encoding of actions, specified in `docs/encoding.md`.

use super::{
    Action, Clock, CopyAction, DebAction, DebianAction, Demand, Demands, LayerAction, RunAction,
    Scripts, Source, UnpackAction,
};
use crate::{DecodeError, Decoder, Digest, Encoder, Sha256, TreePath, tree::decode_path};

const MAGIC: &str = "reimage action 1\n";

impl Action {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new(MAGIC);
        e.bytes(self.operation().as_bytes());
        match self {
            Self::Run(action) => run(&mut e, action),
            Self::Fetch(file) => {
                e.raw(file.as_bytes());
            }
            Self::Copy(action) => copy(&mut e, action),
            Self::Unpack(UnpackAction { archive, strip }) => {
                e.raw(archive.as_bytes()).number((*strip).into());
            }
            Self::Layer(LayerAction { layer, below }) => {
                digests(e.raw(layer.as_bytes()), below);
            }
            Self::Deb(DebAction { package, exclude }) => {
                texts(e.raw(package.as_bytes()), exclude);
            }
            Self::Debian(action) => debian(&mut e, action),
        }
        e.finish()
    }

    /// Reads a canonical encoding; anything else is an error, as is an operation of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(bytes, MAGIC)?;
        let action = match d.text()? {
            "run-1" => Self::Run(decode_run(&mut d)?),
            "fetch-1" => Self::Fetch(Sha256::from_bytes(d.raw32()?)),
            "copy-1" => Self::Copy(decode_copy(&mut d)?),
            "unpack-1" => Self::Unpack(UnpackAction {
                archive: Sha256::from_bytes(d.raw32()?),
                strip: d.small()?,
            }),
            "oci-unpack-1" => Self::Layer(LayerAction {
                layer: Sha256::from_bytes(d.raw32()?),
                below: d.list(digest)?,
            }),
            "deb-unpack-2" => Self::Deb(DebAction {
                package: Sha256::from_bytes(d.raw32()?),
                exclude: d.list(text)?,
            }),
            "debian-2" => Self::Debian(decode_debian(&mut d)?),
            other => return Err(d.error(format!("an unknown operation, `{other}`"))),
        };
        d.finish()?;
        Ok(action)
    }
}

fn run(e: &mut Encoder, action: &RunAction) {
    // Taken apart, so that a new field cannot be forgotten.
    let RunAction {
        root,
        inputs,
        argv,
        env,
        workdir,
        user,
        outputs,
        exclude,
        platform,
        baseline,
        demands: wanted,
        cpus,
        recorded,
    } = action;
    digests(e, root);
    e.list(inputs.iter(), |e, (path, tree)| {
        e.bytes(path.as_bytes()).raw(tree.as_bytes());
    });
    texts(e, argv);
    e.list(env.iter(), |e, (name, value)| {
        e.bytes(name.as_bytes()).bytes(value.as_bytes());
    });
    e.bytes(workdir.as_bytes()).bytes(user.as_bytes());
    e.option(outputs.as_ref(), |e, paths| {
        e.list(paths.iter(), |e, path| {
            e.bytes(path.as_bytes());
        });
    });
    texts(e, exclude);
    e.bytes(platform.as_bytes()).number((*baseline).into());
    demands(e, *wanted);
    e.option(*cpus, |e, cpus| {
        e.number(cpus.into());
    });
    e.option(recorded.as_ref(), |e, digest| {
        e.raw(digest.as_bytes());
    });
}

fn decode_run(d: &mut Decoder<'_>) -> Result<RunAction, DecodeError> {
    let root = d.list(digest)?;
    let inputs = d.list(|d| Ok((decode_path(d)?, digest(d)?)))?;
    let argv = d.list(text)?;
    let env = d.list(|d| Ok((text(d)?, text(d)?)))?;
    if !inputs.is_sorted_by(|a, b| a.0 < b.0) || !env.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(d.error("a map that is not sorted or has duplicates"));
    }
    Ok(RunAction {
        root,
        inputs: inputs.into_iter().collect(),
        argv,
        env: env.into_iter().collect(),
        workdir: decode_path(d)?,
        user: text(d)?,
        outputs: d.option(|d| d.list(path))?,
        exclude: d.list(text)?,
        platform: text(d)?,
        baseline: d.small()?,
        demands: decode_demands(d)?,
        cpus: d.option(Decoder::small)?,
        recorded: d.option(digest)?,
    })
}

fn copy(e: &mut Encoder, action: &CopyAction) {
    let CopyAction { from, path, to, include, exclude, chown, chmod, mtime } = action;
    e.list(from.iter(), |e, source| {
        match source {
            Source::Diff(digest) => e.number(1).raw(digest.as_bytes()),
            Source::Tree(digest) => e.number(2).raw(digest.as_bytes()),
        };
    });
    e.bytes(path.as_bytes()).bytes(to.as_bytes());
    e.option(include.as_ref(), |e, include| texts(e, include));
    texts(e, exclude);
    e.option(*chown, |e, (uid, gid)| {
        e.number(uid.into()).number(gid.into());
    });
    e.option(chmod.as_ref(), |e, mode| {
        e.bytes(mode.as_bytes());
    });
    e.option(*mtime, |e, time| {
        e.signed(time);
    });
}

fn decode_copy(d: &mut Decoder<'_>) -> Result<CopyAction, DecodeError> {
    Ok(CopyAction {
        from: d.list(|d| match d.number()? {
            1 => digest(d).map(Source::Diff),
            2 => digest(d).map(Source::Tree),
            other => Err(d.error(format!("an unknown kind of source, {other}"))),
        })?,
        path: decode_path(d)?,
        to: decode_path(d)?,
        include: d.option(|d| d.list(text))?,
        exclude: d.list(text)?,
        chown: d.option(|d| Ok((d.small()?, d.small()?)))?,
        chmod: d.option(text)?,
        mtime: d.option(Decoder::signed)?,
    })
}

fn debian(e: &mut Encoder, action: &DebianAction) {
    let DebianAction {
        root,
        packages,
        scripts,
        exclude,
        platform,
        baseline,
        demands: wanted,
        cpus,
        driver,
        scrub,
    } = action;
    digests(e, root);
    e.list(packages.iter(), |e, package| {
        e.raw(package.as_bytes());
    });
    e.number(match scripts {
        Scripts::Run => 1,
        Scripts::Skip => 2,
    });
    texts(e, exclude);
    e.bytes(platform.as_bytes()).number((*baseline).into());
    demands(e, *wanted);
    e.option(*cpus, |e, cpus| {
        e.number(cpus.into());
    });
    e.number((*driver).into()).number((*scrub).into());
}

fn decode_debian(d: &mut Decoder<'_>) -> Result<DebianAction, DecodeError> {
    Ok(DebianAction {
        root: d.list(digest)?,
        packages: d.list(|d| Ok(Sha256::from_bytes(d.raw32()?)))?,
        scripts: match d.number()? {
            1 => Scripts::Run,
            2 => Scripts::Skip,
            other => return Err(d.error(format!("an unknown way with scripts, {other}"))),
        },
        exclude: d.list(text)?,
        platform: text(d)?,
        baseline: d.small()?,
        demands: decode_demands(d)?,
        cpus: d.option(Decoder::small)?,
        driver: d.small()?,
        scrub: d.small()?,
    })
}

fn demands(e: &mut Encoder, demands: Demands) {
    let Demands { clock, entropy, stat } = demands;
    match clock {
        Clock::Fixed => e.number(1),
        Clock::At(time) => e.number(2).signed(time),
        Clock::Real => e.number(3),
    };
    for demand in [entropy, stat] {
        e.number(match demand {
            Demand::Fixed => 1,
            Demand::Real => 2,
        });
    }
}

fn decode_demands(d: &mut Decoder<'_>) -> Result<Demands, DecodeError> {
    let clock = match d.number()? {
        1 => Clock::Fixed,
        2 => Clock::At(d.signed()?),
        3 => Clock::Real,
        other => return Err(d.error(format!("an unknown kind of clock, {other}"))),
    };
    let demand = |d: &mut Decoder<'_>| match d.number()? {
        1 => Ok(Demand::Fixed),
        2 => Ok(Demand::Real),
        other => Err(d.error(format!("an unknown demand, {other}"))),
    };
    Ok(Demands { clock, entropy: demand(d)?, stat: demand(d)? })
}

fn texts(e: &mut Encoder, texts: &[String]) {
    e.list(texts.iter(), |e, text| {
        e.bytes(text.as_bytes());
    });
}

fn digests(e: &mut Encoder, digests: &[Digest]) {
    e.list(digests.iter(), |e, digest| {
        e.raw(digest.as_bytes());
    });
}

fn text(d: &mut Decoder<'_>) -> Result<String, DecodeError> {
    d.text().map(str::to_owned)
}

fn digest(d: &mut Decoder<'_>) -> Result<Digest, DecodeError> {
    d.raw32().map(Digest::from_bytes)
}

fn path(d: &mut Decoder<'_>) -> Result<TreePath, DecodeError> {
    decode_path(d)
}
