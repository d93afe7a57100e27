//! Records: what a cache says of a key, as JSON in an envelope.

use reimage_castore::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Blob, PrivateKey, Refused, Trust, open, seal};

/// The version of all records; what another version wrote is as not there.
const VERSION: u32 = 1;

/// What a record says.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is a record of: `step`.
    const KIND: &'static str;

    /// All blobs that it names.
    fn blobs(&self) -> Vec<Blob>;
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement<T> {
    version: u32,
    kind: String,
    key: Digest,
    record: T,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
    kind: String,
    key: Digest,
}

/// What a record is kept under: records of different kinds have different keys.
pub(crate) fn key_of<T: Record>(key: &Digest) -> Digest {
    Digest::of(format!("reimage cache record {VERSION}\n{}\n{key}\n", T::KIND).as_bytes())
}

/// The bytes that say `record` of `key`.
pub(crate) fn write<T: Record>(key: &Digest, record: &T, signer: Option<&PrivateKey>) -> Vec<u8> {
    let statement = Statement { version: VERSION, kind: T::KIND.to_owned(), key: *key, record };
    let payload = serde_json::to_vec(&statement).expect("records are plain data");
    seal(&payload, signer)
}

/// What `bytes` say of `key`, if whoever says it is believed.
pub(crate) fn read<T: Record>(key: &Digest, bytes: &[u8], trust: &Trust) -> Result<T, Refused> {
    let payload = open(bytes, trust)?;
    let head: Head = serde_json::from_slice(&payload).map_err(|_| Refused::Malformed)?;
    if head.version != VERSION {
        return Err(Refused::Version);
    }
    // A good record that was put under another's key.
    if head.kind != T::KIND || head.key != *key {
        return Err(Refused::Elsewhere);
    }
    let statement: Statement<T> =
        serde_json::from_slice(&payload).map_err(|_| Refused::Malformed)?;
    Ok(statement.record)
}
