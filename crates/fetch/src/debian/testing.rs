//! What tests make themselves: keys and signed Release files.

use super::keyring::Keyring;
use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    },
    types::{KeyDetails, Password},
};
use rand::{SeedableRng, rngs::StdRng};

/// A key pair and what it signs.
pub(crate) struct Signer(SignedSecretKey);

impl Signer {
    pub(crate) fn new(seed: u64) -> Self {
        let key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_certify(true)
            .primary_user_id("Archive <archive@example.org>".into())
            .build()
            .expect("the parameters are complete")
            .generate(StdRng::seed_from_u64(seed))
            .expect("an Ed25519 key needs only random numbers");
        Self(key)
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string().to_uppercase()
    }

    pub(crate) fn armored(&self) -> String {
        self.0
            .to_public_key()
            .to_armored_string(ArmorOptions::default())
            .expect("a key can be armored")
    }

    pub(crate) fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::default();
        keyring.add("test.gpg", self.armored().as_bytes()).expect("the key is one");
        keyring
    }

    pub(crate) fn sign(&self, text: &str) -> String {
        let message = CleartextSignedMessage::sign(
            StdRng::seed_from_u64(9),
            text,
            &*self.0,
            &Password::empty(),
        );
        message
            .expect("the key has no password")
            .to_armored_string(ArmorOptions::default())
            .expect("text")
    }
}
