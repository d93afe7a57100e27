//! How two images differ, if they do: the first thing, from the lowest layer's first path to the manifest.
//!
//! Nothing that an image says of itself is believed: layers are read, not their digests in a configuration.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Read},
};

use reimage_castore::Sha256Hasher;
use serde_json::Value;

use crate::{
    Descriptor, Layout, LayoutError, Limits, Manifest, UnpackError, decode, first_difference,
    unpack::{Kind, Member, Members},
};

/// The first thing in which a second image differs from a first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// What a layer holds.
    Layer {
        /// Which, from 0, the lowest.
        number: usize,
        /// The path of the first member that differs; none: the archives are written otherwise.
        path: Option<String>,
        /// How it differs.
        how: String,
    },
    /// How a layer is compressed.
    Compression {
        /// Which, from 0.
        number: usize,
    },
    /// How many layers there are.
    Layers {
        /// Of the first.
        first: usize,
        /// Of the second.
        second: usize,
    },
    /// A field of a document.
    Field {
        /// `configuration` or `manifest`.
        document: &'static str,
        /// The field, as a JSON pointer (RFC 6901).
        pointer: String,
        /// Both values.
        values: [String; 2],
    },
    /// A document that says the same in other bytes.
    Written {
        /// `configuration`, `manifest` or `index`.
        document: &'static str,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer { number, path: Some(path), how } => {
                write!(f, "layer {}: `{path}`: {how}", number + 1)
            }
            Self::Layer { number, path: None, how } => write!(f, "layer {}: {how}", number + 1),
            Self::Compression { number } => {
                write!(f, "layer {}: the same content, compressed otherwise", number + 1)
            }
            Self::Layers { first, second } => write!(f, "{first} layers, then {second}"),
            Self::Field { document, pointer, values: [first, second] } => {
                write!(f, "{document}: `{pointer}` is {first}, then {second}")
            }
            Self::Written { document } => write!(f, "{document}: the same, written otherwise"),
        }
    }
}

/// One of two images: where it is, and its manifest.
pub struct Compared<'a> {
    /// Where it is.
    pub layout: &'a Layout,
    /// Its manifest.
    pub manifest: &'a Descriptor,
}

/// The first difference between two images; none if their manifests are the same bytes.
pub fn compare(
    first: &Compared<'_>,
    second: &Compared<'_>,
) -> Result<Option<Difference>, CompareError> {
    if first.manifest.digest == second.manifest.digest {
        return Ok(None);
    }
    let (one, one_bytes) = first.layout.manifest(first.manifest)?;
    let (two, two_bytes) = second.layout.manifest(second.manifest)?;
    if let Some(layer) = layers((first.layout, &one), (second.layout, &two))? {
        return Ok(Some(layer));
    }
    if one.config.digest != two.config.digest {
        let configs =
            (first.layout.read_document(&one.config)?, second.layout.read_document(&two.config)?);
        return Ok(Some(document("configuration", &configs.0, &configs.1)));
    }
    Ok(Some(document("manifest", &one_bytes, &two_bytes)))
}

/// Images that cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A layout, or a blob of it, that cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A layer that is no archive.
    #[error(transparent)]
    Layer(#[from] UnpackError),
    /// A layer that cannot be read.
    #[error("A layer cannot be read")]
    Read(#[from] io::Error),
}

type Side<'a> = (&'a Layout, &'a Manifest);

fn layers(first: Side<'_>, second: Side<'_>) -> Result<Option<Difference>, CompareError> {
    let (one, two) = (&first.1.layers, &second.1.layers);
    for (number, (one, two)) in one.iter().zip(two).enumerate() {
        if one.digest == two.digest {
            continue;
        }
        let read = |layout: &Layout, layer: &Descriptor| -> Result<_, CompareError> {
            let blob = layout.open_blob(layer.digest, layer.size)?;
            Ok(Digested {
                inner: decode(blob, Limits::default().bytes)?,
                hasher: Sha256Hasher::new(),
            })
        };
        let found = archives(read(first.0, one)?, read(second.0, two)?)?;
        return Ok(Some(match found {
            Some((path, how)) => Difference::Layer { number, path, how },
            None => Difference::Compression { number },
        }));
    }
    let (first, second) = (one.len(), two.len());
    Ok((first != second).then_some(Difference::Layers { first, second }))
}

/// A reader that knows what it has read.
struct Digested<R> {
    inner: R,
    hasher: Sha256Hasher,
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Where a member differs first, and how.
type Found = (Option<String>, String);

fn archives<A: Read, B: Read>(
    mut first: Digested<A>,
    mut second: Digested<B>,
) -> Result<Option<Found>, CompareError> {
    let (mut one, mut two) = (Members::new(&mut first), Members::new(&mut second));
    loop {
        let (a, b) = match (one.next()?, two.next()?) {
            (None, None) => break,
            (Some(a), Some(b)) if a.path == b.path => (a, b),
            (a, b) => return Ok(Some(names(a, b, &mut one, &mut two)?)),
        };
        let path = Some(shown(&a.path));
        if a.kind != b.kind {
            return Ok(Some((path, format!("a {}, then a {}", kind(&a.kind), kind(&b.kind)))));
        }
        if let Some(how) = first_difference(one.content(), two.content())? {
            return Ok(Some((path, how)));
        }
        if let Some(how) = attributes(&a, &b) {
            return Ok(Some((path, how)));
        }
        one.skip_content()?;
        two.skip_content()?;
    }
    let same = first.hasher.finish() == second.hasher.finish();
    Ok((!same).then(|| (None, "the same members, written otherwise".to_owned())))
}

/// Two members of other names in one place: one is missing, or their order differs.
fn names<A: Read, B: Read>(
    a: Option<Member>,
    b: Option<Member>,
    one: &mut Members<A>,
    two: &mut Members<B>,
) -> Result<Found, CompareError> {
    let rest =
        |first: &Option<Member>| first.iter().map(|m| m.path.clone()).collect::<BTreeSet<_>>();
    let (mut ours, mut theirs) = (rest(&a), rest(&b));
    one.skip_content()?;
    two.skip_content()?;
    while let Some(member) = one.next()? {
        ours.insert(member.path);
        one.skip_content()?;
    }
    while let Some(member) = two.next()? {
        theirs.insert(member.path);
        two.skip_content()?;
    }
    if let Some(only) = a.as_ref().filter(|a| !theirs.contains(&a.path)) {
        return Ok((Some(shown(&only.path)), "only in the first".to_owned()));
    }
    if let Some(only) = b.as_ref().filter(|b| !ours.contains(&b.path)) {
        return Ok((Some(shown(&only.path)), "only in the second".to_owned()));
    }
    let here = a.or(b).map(|member| shown(&member.path));
    Ok((here, "the same members in another order from here on".to_owned()))
}

fn kind(kind: &Kind) -> &str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symbolic link",
        Kind::Link => "hard link",
        Kind::Fifo => "named pipe",
        Kind::CharDevice => "character device",
        Kind::BlockDevice => "block device",
        Kind::Other(other) => other,
    }
}

fn attributes(a: &Member, b: &Member) -> Option<String> {
    if a.link != b.link {
        Some(format!("a link to `{}`, then to `{}`", shown(&a.link), shown(&b.link)))
    } else if a.mode != b.mode {
        Some(format!("mode {:04o}, then {:04o}", a.mode, b.mode))
    } else if (a.uid, a.gid) != (b.uid, b.gid) {
        Some(format!("owner {}:{}, then {}:{}", a.uid, a.gid, b.uid, b.gid))
    } else if (a.major, a.minor) != (b.major, b.minor) {
        Some(format!("device {}:{}, then {}:{}", a.major, a.minor, b.major, b.minor))
    } else if a.mtime != b.mtime {
        Some(format!("time {}, then {}", a.mtime, b.mtime))
    } else if a.xattrs != b.xattrs {
        let names = a.xattrs.keys().chain(b.xattrs.keys());
        let name = names.into_iter().find(|name| a.xattrs.get(*name) != b.xattrs.get(*name))?;
        Some(format!("another extended attribute `{}`", shown(name)))
    } else {
        None
    }
}

/// A path as people write it, from the root.
fn shown(path: &[u8]) -> String {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let text = path.escape_ascii().to_string();
    if text.starts_with('/') { text } else { format!("/{text}") }
}

fn document(document: &'static str, first: &[u8], second: &[u8]) -> Difference {
    let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    match (parsed(first), parsed(second)) {
        (Some(first), Some(second)) => match field(String::new(), &first, &second) {
            Some((pointer, values)) => Difference::Field { document, pointer, values },
            None => Difference::Written { document },
        },
        _ => Difference::Written { document },
    }
}

/// The first field in which two values differ, in the order of names.
fn field(at: String, first: &Value, second: &Value) -> Option<(String, [String; 2])> {
    let below = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match (first, second) {
        (Value::Object(one), Value::Object(two)) => {
            let names: BTreeSet<_> = one.keys().chain(two.keys()).collect();
            names.into_iter().find_map(|name| {
                let (one, two) = (one.get(name), two.get(name));
                match (one, two) {
                    (Some(one), Some(two)) => field(below(name), one, two),
                    _ => Some((below(name), [value(one), value(two)])),
                }
            })
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            let mut both = one.iter().zip(two).enumerate();
            both.find_map(|(at, (one, two))| field(below(&at.to_string()), one, two))
        }
        _ if first == second => None,
        _ => Some((at, [value(Some(first)), value(Some(second))])),
    }
}

fn value(value: Option<&Value>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| format!("`{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &str, u32)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content, mode) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(*mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_entry_type(tar::EntryType::Regular);
            builder.append_data(&mut header, name, content.as_bytes()).expect("fits");
        }
        builder.into_inner().expect("in memory")
    }

    fn found(first: &[u8], second: &[u8]) -> Option<String> {
        let read = |inner| Digested { inner, hasher: Sha256Hasher::new() };
        let found = archives(read(first), read(second)).expect("archives");
        found.map(|(path, how)| format!("{}: {how}", path.unwrap_or_default()))
    }

    #[test]
    fn the_first_member_that_differs_is_named() {
        let one = archive(&[("a", "text", 0o644), ("b", "", 0o755)]);
        let check = |members: &[(&str, &str, u32)], expected: &str| {
            assert_eq!(found(&one, &archive(members)).as_deref(), Some(expected));
        };
        assert_eq!(found(&one, &one), None);
        check(&[("a", "teXt", 0o644), ("b", "", 0o755)], "/a: from byte 2 on `xt`, then `Xt`");
        check(&[("a", "text", 0o644), ("b", "", 0o644)], "/b: mode 0755, then 0644");
        check(
            &[("b", "", 0o755), ("a", "text", 0o644)],
            "/a: the same members in another order from here on",
        );
        check(&[("a", "text", 0o644)], "/b: only in the first");
        check(&[("a", "text", 0o644), ("b", "", 0o755), ("c", "", 0)], "/c: only in the second");
        check(&[("a", "text!", 0o644), ("b", "", 0o755)], "/a: from byte 4 on its end, then `!`");
        let mut otherwise = one.clone();
        otherwise.extend([0; 512]);
        assert_eq!(
            found(&one, &otherwise).as_deref(),
            Some(": the same members, written otherwise")
        );
    }

    #[test]
    fn the_first_field_that_differs_is_named() {
        let check = |one: &str, two: &str, expected: &str| {
            assert_eq!(document("manifest", one.as_bytes(), two.as_bytes()).to_string(), expected);
        };
        check(
            r#"{"a":1,"b":[1,{"c/d":2}]}"#,
            r#"{"a":1,"b":[1,{"c/d":3}]}"#,
            "manifest: `/b/1/c~1d` is `2`, then `3`",
        );
        check(r#"{"a":1}"#, r#"{"a":1,"b":2}"#, "manifest: `/b` is absent, then `2`");
        check(r#"{"a":[1]}"#, r#"{"a":[1,2]}"#, "manifest: `/a` is `[1]`, then `[1,2]`");
        check(r#"{"a": 1}"#, r#"{"a":1}"#, "manifest: the same, written otherwise");
    }
}
