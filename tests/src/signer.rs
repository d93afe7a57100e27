//! Keys that tests make, and what they sign.

use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    },
    types::{KeyDetails as _, Password, Timestamp},
};
use rand::{SeedableRng, rngs::StdRng};

/// A key pair, the same for the same number.
#[derive(Debug)]
pub struct Signer(SignedSecretKey);

impl Signer {
    /// The key of this number.
    pub fn new(seed: u64) -> Self {
        let key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_certify(true)
            .created_at(Timestamp::from_secs(1_700_000_000))
            .primary_user_id("Archive <archive@example.org>".into())
            .build()
            .expect("the parameters are complete")
            .generate(StdRng::seed_from_u64(seed))
            .expect("an Ed25519 key needs only random numbers");
        Self(key)
    }

    /// The fingerprint, in capitals.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string().to_uppercase()
    }

    /// The public key, armored.
    pub fn armored(&self) -> String {
        let key = self.0.to_public_key();
        key.to_armored_string(ArmorOptions::default()).expect("a key can be armored")
    }

    /// `text` as an InRelease has it.
    pub fn sign(&self, text: &str) -> String {
        let (random, password) = (StdRng::seed_from_u64(9), Password::empty());
        let signed = CleartextSignedMessage::sign(random, text, &*self.0, &password);
        let signed = signed.expect("the key has no password");
        signed.to_armored_string(ArmorOptions::default()).expect("it is text")
    }
}
