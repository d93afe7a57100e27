//! `OpenPGP` keys and the cleartext signatures of repositories, by the crate `pgp`: no gpg binary, no home directory, no trust.

use pgp::{
    composed::{CleartextSignedMessage, Deserializable, SignedPublicKey},
    crypto::hash::HashAlgorithm,
    packet::Signature,
    types::KeyDetails,
};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

/// Why a signed file was refused, or a keyring could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file has no key that can be read.
    #[error("{name} holds no OpenPGP key, neither binary nor armored")]
    NoKeys {
        /// What the caller calls the keyring.
        name: String,
    },
    /// It is not a cleartext-signed message.
    #[error(
        "{name} is not signed text: a repository's InRelease begins with `-----BEGIN PGP SIGNED MESSAGE-----`"
    )]
    NotSigned {
        /// What the caller calls the file.
        name: String,
        /// What the parser found.
        source: Box<pgp::errors::Error>,
    },
    /// None of the signers is in the keyrings.
    #[error("{name} is signed by {}, and none of these keys is in {keyrings}", .signers.join(", "))]
    UnknownSigner {
        /// What the caller calls the file.
        name: String,
        /// Fingerprints or key ids of the signers.
        signers: Vec<String>,
        /// The keyrings searched.
        keyrings: String,
    },
    /// A signature does not fit the text.
    #[error(
        "{name} is signed by key {signer}, and the signature does not fit the text: it was changed on its way or \
         where it lies"
    )]
    BadSignature {
        /// What the caller calls the file.
        name: String,
        /// The key's fingerprint.
        signer: String,
    },
    /// The only keys that signed it are no longer, or not yet, valid.
    #[error("{name} is signed by key {signer}, which {reason}")]
    UnusableKey {
        /// What the caller calls the file.
        name: String,
        /// The key's fingerprint.
        signer: String,
        /// Why it does not count.
        reason: &'static str,
    },
}

/// Keys whose signatures are accepted.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    names: Vec<String>,
    keys: Vec<SignedPublicKey>,
}

/// A text whose signature was good.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What was signed, and nothing around it.
    pub text: String,
    /// The fingerprint of the primary key that signed it.
    pub signer: String,
}

const ARMOR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

impl Keyring {
    /// Adds the keys of a keyring file, binary or armored; `name` names it in errors. Keys of kinds that are not
    /// understood are left out.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), KeyringError> {
        let before = self.keys.len();
        match std::str::from_utf8(bytes).ok().filter(|text| text.contains(ARMOR)) {
            Some(text) => {
                for block in text.split(ARMOR).skip(1) {
                    let block = format!("{ARMOR}{block}");
                    if let Ok((keys, _)) = SignedPublicKey::from_armor_many(block.as_bytes()) {
                        self.keys.extend(keys.filter_map(Result::ok));
                    }
                }
            }
            None => {
                if let Ok(keys) = SignedPublicKey::from_bytes_many(bytes) {
                    self.keys.extend(keys.filter_map(Result::ok));
                }
            }
        }
        if self.keys.len() == before {
            return Err(KeyringError::NoKeys { name: name.to_owned() });
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Returns whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the names of the keyring files, for errors.
    pub fn names(&self) -> String {
        if self.names.is_empty() { "any keyring".to_owned() } else { self.names.join(", ") }
    }

    /// Verifies a cleartext-signed file (`InRelease`) at the time `now`.
    ///
    /// One good signature is enough, as keys are rolled over with two; a bad one by a key that is known is an error.
    pub fn verify(
        &self,
        name: &str,
        message: &[u8],
        now: SystemTime,
    ) -> Result<Verified, KeyringError> {
        let (message, _) = CleartextSignedMessage::from_armor(message).map_err(|source| {
            KeyringError::NotSigned { name: name.to_owned(), source: Box::new(source) }
        })?;
        let text = message.signed_text();
        let (mut good, mut unusable, mut signers) = (None, None, Vec::new());
        for signature in message.signatures() {
            let Some((key, result)) =
                self.keys.iter().find_map(|key| check(key, signature, &text, now))
            else {
                signers.push(issuer(signature));
                continue;
            };
            let signer = key.primary_key.fingerprint().to_string().to_uppercase();
            match result {
                Ok(()) => good = Some(signer),
                Err(Refusal::Key(reason)) => unusable = Some((signer, reason)),
                Err(Refusal::Signature) => {
                    return Err(KeyringError::BadSignature { name: name.to_owned(), signer });
                }
            }
        }
        match (good, unusable) {
            (Some(signer), _) => Ok(Verified { text: text.replace("\r\n", "\n"), signer }),
            (None, Some((signer, reason))) => {
                Err(KeyringError::UnusableKey { name: name.to_owned(), signer, reason })
            }
            (None, None) => {
                let signers: BTreeSet<String> = signers.into_iter().collect();
                Err(KeyringError::UnknownSigner {
                    name: name.to_owned(),
                    signers: if signers.is_empty() {
                        vec!["nobody".into()]
                    } else {
                        signers.into_iter().collect()
                    },
                    keyrings: self.names(),
                })
            }
        }
    }
}

enum Refusal {
    /// It does not fit; what the library has found besides says nothing of use to anybody.
    Signature,
    Key(&'static str),
}

/// Checks a signature by this key or one of its signing subkeys; nothing if another key made it.
fn check<'k>(
    key: &'k SignedPublicKey,
    signature: &Signature,
    text: &str,
    now: SystemTime,
) -> Option<(&'k SignedPublicKey, Result<(), Refusal>)> {
    let ids = signature.issuer_key_id();
    let fingerprints = signature.issuer_fingerprint();
    let made = |by: &dyn KeyDetails| {
        fingerprints.contains(&&by.fingerprint())
            || (fingerprints.is_empty() && ids.contains(&&by.legacy_key_id()))
    };
    let fits = |by: Result<(), pgp::errors::Error>| by.map_err(|_| Refusal::Signature);
    let result = if made(&key.primary_key) {
        fits(signature.verify(&key.primary_key, text.as_bytes()))
    } else {
        let subkey = key.public_subkeys.iter().find(|subkey| made(&subkey.key))?;
        let bound = subkey.signatures.iter().any(|binding| {
            binding.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok()
                && binding.key_flags().sign()
        });
        let revoked = subkey
            .signatures
            .iter()
            .any(|one| one.typ() == Some(pgp::packet::SignatureType::SubkeyRevocation));
        let expired = subkey
            .signatures
            .iter()
            .filter_map(|one| expiry(&subkey.key, one))
            .max()
            .is_some_and(|end| end < now);
        match (bound, revoked || expired) {
            (false, _) => Err(Refusal::Key("is not bound to its primary key for signing")),
            (_, true) => Err(Refusal::Key("is revoked or expired")),
            _ => fits(signature.verify(&subkey.key, text.as_bytes())),
        }
    };
    Some((key, result.and_then(|()| usable(key, signature, now).map_err(Refusal::Key))))
}

/// Checks what gpg checks besides the mathematics: strength, revocation, expiry.
fn usable(
    key: &SignedPublicKey,
    signature: &Signature,
    now: SystemTime,
) -> Result<(), &'static str> {
    let strong = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    );
    if !strong {
        return Err("signed it by a digest that is no longer safe");
    }
    if key.details.revocation_signatures.iter().any(|one| one.verify_key(&key.primary_key).is_ok())
    {
        return Err("is revoked");
    }
    let created = signature.created().map(SystemTime::from);
    if let (Some(created), Some(lifetime)) = (created, signature.signature_expiration_time())
        && !Duration::from(lifetime).is_zero()
        && created + Duration::from(lifetime) < now
    {
        return Err("signed it for a time that is over");
    }
    if primary_expiry(key).is_some_and(|end| end < now) {
        return Err("is expired; a newer keyring may have it renewed");
    }
    Ok(())
}

/// Returns when the primary key ends, as its newest valid self-signature says.
fn primary_expiry(key: &SignedPublicKey) -> Option<SystemTime> {
    use pgp::types::Tag;
    let primary = &key.primary_key;
    let users = key.details.users.iter().flat_map(|user| {
        let valid =
            |one: &&Signature| one.verify_certification(primary, Tag::UserId, &user.id).is_ok();
        user.signatures.iter().filter(valid)
    });
    let direct = key.details.direct_signatures.iter().filter(|one| one.verify_key(primary).is_ok());
    let newest = users.chain(direct).max_by_key(|one| one.created())?;
    expiry(primary, newest)
}

/// Returns when a key ends by a signature over it; nothing if that sets no end.
fn expiry(key: &impl KeyDetails, signature: &Signature) -> Option<SystemTime> {
    let lifetime = Duration::from(signature.key_expiration_time()?);
    (!lifetime.is_zero()).then(|| SystemTime::from(key.created_at()) + lifetime)
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
    let id = || signature.issuer_key_id().first().map(ToString::to_string);
    fingerprint.or_else(id).map_or_else(|| "an unnamed key".to_owned(), |name| name.to_uppercase())
}
