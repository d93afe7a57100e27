//! What an action gave.

use crate::{DecodeError, Decoder, Digest, Encoder, TreePath, tree::decode_path};

const MAGIC: &str = "reimage result 2\n";

/// The output of an action, with what is worth keeping beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionResult {
    /// What it made.
    pub output: Output,
    /// The blob of what it said, stdout and stderr as they came.
    pub log: Option<Digest>,
    /// What the user should hear whenever the result is used, such as a socket that was dropped.
    pub notes: Vec<String>,
    /// Files that it wrote and that look like secrets: where, and their content.
    pub secrets: Vec<(TreePath, Digest)>,
    /// How long it took, in milliseconds: what takes long is started first next time.
    pub millis: u64,
}

/// What an action makes; all of it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// What it changed in the root it stands on: a diff.
    Diff(Digest),
    /// A tree.
    Tree(Digest),
}

impl ActionResult {
    /// An output and nothing beside it.
    pub fn new(output: Output) -> Self {
        Self { output, log: None, notes: Vec::new(), secrets: Vec::new(), millis: 0 }
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let Self { output, log, notes, secrets, millis } = self;
        let mut e = Encoder::new(MAGIC);
        match output {
            Output::Diff(digest) => {
                e.number(1).raw(digest.as_bytes());
            }
            Output::Tree(digest) => {
                e.number(2).raw(digest.as_bytes());
            }
        }
        e.option(log.as_ref(), |e, digest| {
            e.raw(digest.as_bytes());
        });
        e.list(notes.iter(), |e, note| {
            e.bytes(note.as_bytes());
        });
        e.list(secrets.iter(), |e, (path, content)| {
            e.bytes(path.as_bytes()).raw(content.as_bytes());
        });
        e.number(*millis);
        e.finish()
    }

    /// Reads a canonical encoding; anything else is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(bytes, MAGIC)?;
        let digest = |d: &mut Decoder<'_>| Ok(Digest::from_bytes(d.raw32()?));
        let output = match d.number()? {
            1 => Output::Diff(digest(&mut d)?),
            2 => Output::Tree(digest(&mut d)?),
            other => return Err(d.error(format!("an unknown kind of output, {other}"))),
        };
        let log = d.option(digest)?;
        let notes = d.list(|d| Ok(d.text()?.to_owned()))?;
        let secrets = d.list(|d| Ok((decode_path(d)?, digest(d)?)))?;
        let millis = d.number()?;
        d.finish()?;
        Ok(Self { output, log, notes, secrets, millis })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_result() -> impl Strategy<Value = ActionResult> {
        let digest = || any::<[u8; 32]>().prop_map(Digest::from_bytes);
        let output = prop_oneof![digest().prop_map(Output::Diff), digest().prop_map(Output::Tree)];
        let log = proptest::option::of(digest());
        let path = "[a-z]{1,8}(/[a-z]{1,8}){0,2}";
        let path = path.prop_map(|path| TreePath::new(path).expect("a good path"));
        let secrets = proptest::collection::vec((path, digest()), 0..3);
        (output, log, any::<Vec<String>>(), secrets, any::<u64>()).prop_map(
            |(output, log, notes, secrets, millis)| ActionResult {
                output,
                log,
                notes,
                secrets,
                millis,
            },
        )
    }

    #[test]
    fn golden_encoding() {
        let result = ActionResult {
            output: Output::Tree(Digest::EMPTY),
            log: Some(Digest::EMPTY),
            notes: vec!["a socket".to_owned()],
            secrets: vec![(TreePath::new("etc/key").expect("a good path"), Digest::EMPTY)],
            millis: 300,
        };
        let bytes = result.encode();
        assert_eq!(bytes.len(), 17 + 1 + 32 + 33 + 1 + 9 + 1 + 8 + 32 + 2);
        assert_eq!(
            Digest::of(&bytes).to_string(),
            "d3a7eb8069951589126af440a16082b3fb2de413528385f113df388a64eda63a"
        );
    }

    proptest! {
        #[test]
        fn an_encoding_is_a_value(result in any_result()) {
            prop_assert_eq!(ActionResult::decode(&result.encode())?, result);
        }

        #[test]
        fn only_the_canonical_encoding_decodes(result in any_result(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = result.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(decoded) = ActionResult::decode(&bytes) {
                prop_assert_eq!(decoded.encode(), bytes);
            }
        }
    }
}
