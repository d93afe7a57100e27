//! Whom a record comes from: DSSE envelopes signed with Ed25519.
//!
//! Whoever may write to a cache could say anything of any action; so what it says counts only if a key signed it
//! that the reader trusts, or if the reader says that whoever may write is trusted.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{
    Signature, Signer as _, SigningKey, VerifyingKey,
    pkcs8::{
        DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
        KeypairBytes, spki::der::pem::LineEnding,
    },
};
use rand::rngs::OsRng;
use reimage_castore::Sha256;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What an envelope holds.
const PAYLOAD_TYPE: &str = "application/vnd.reimage.cache.record+json";

/// A file that is no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It is no private key.
    #[error("It is no private Ed25519 key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    Private,
    /// It is no public key.
    #[error("It is no public Ed25519 key in PEM (`-----BEGIN PUBLIC KEY-----`)")]
    Public,
}

/// Why an envelope is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// It is no envelope of ours.
    #[error("it is not a record")]
    Malformed,
    /// None of the keys that are trusted signed it.
    #[error("no trusted key signed it")]
    Untrusted,
    /// A key that is trusted is named, and its signature is not that of the content.
    #[error("the signature of key {0} is wrong")]
    Forged(String),
    /// It says something of something else.
    #[error("it is the record of something else")]
    Elsewhere,
    /// Another version of reimage wrote it.
    #[error("it is of another version")]
    Version,
}

/// A private key.
#[derive(Debug, Clone)]
pub struct PrivateKey(SigningKey);

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Whose records are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that one of these keys signed.
    Keys(Vec<PublicKey>),
    /// Those of everybody who may write to the cache.
    Server,
}

impl PrivateKey {
    /// A new one.
    pub fn generate() -> Self {
        Self(SigningKey::generate(&mut OsRng))
    }

    /// Reads PEM (PKCS#8).
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| KeyError::Private)
    }

    /// As PEM (PKCS#8), as openssl reads and writes it.
    pub fn to_pem(&self) -> String {
        // Without the public key beside it: the form that every reader knows.
        let bytes = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF).expect("32 bytes have an encoding");
        pem.as_str().to_owned()
    }

    /// Its public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

impl PublicKey {
    /// Reads PEM (SPKI).
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        VerifyingKey::from_public_key_pem(pem).map(Self).map_err(|_| KeyError::Public)
    }

    /// As PEM (SPKI).
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("32 bytes have an encoding")
    }

    /// What names it in envelopes: the SHA-256 of its DER form, in hexadecimal digits.
    pub fn id(&self) -> String {
        let der = self.0.to_public_key_der().expect("32 bytes have an encoding");
        Sha256::of(der.as_bytes()).hex()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    #[serde(default)]
    signatures: Vec<OneSignature>,
}

#[derive(Serialize, Deserialize)]
struct OneSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// What is signed: DSSE's pre-authentication encoding.
fn to_be_signed(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Puts `payload` into an envelope, signed by `key` if there is one.
pub fn seal(payload: &[u8], key: Option<&PrivateKey>) -> Vec<u8> {
    let sign = |key: &PrivateKey| OneSignature {
        keyid: key.public().id(),
        sig: STANDARD.encode(key.0.sign(&to_be_signed(payload)).to_bytes()),
    };
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: key.map(sign).into_iter().collect(),
    };
    serde_json::to_vec(&envelope).expect("an envelope is strings")
}

/// Takes the payload out of an envelope that is believed.
pub fn open(envelope: &[u8], trust: &Trust) -> Result<Vec<u8>, Refused> {
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(|_| Refused::Malformed)?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(Refused::Malformed);
    }
    let payload = STANDARD.decode(&envelope.payload).map_err(|_| Refused::Malformed)?;
    let Trust::Keys(keys) = trust else { return Ok(payload) };
    let signed = to_be_signed(&payload);
    let mut refused = Refused::Untrusted;
    for OneSignature { keyid, sig } in &envelope.signatures {
        // The name is only a hint; what counts is the signature.
        let good = |key: &&PublicKey| {
            let sig = STANDARD.decode(sig).ok().and_then(|sig| Signature::from_slice(&sig).ok());
            sig.is_some_and(|sig| key.0.verify_strict(&signed, &sig).is_ok())
        };
        if keys.iter().any(|key| good(&key)) {
            return Ok(payload);
        }
        if keys.iter().any(|key| key.id() == *keyid) {
            refused = Refused::Forged(keyid.chars().take(12).collect());
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests;
