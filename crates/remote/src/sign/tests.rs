//! Envelopes: what is believed, and what is not.

use super::*;

fn trusting(keys: &[&PrivateKey]) -> Trust {
    Trust::Keys(keys.iter().map(|key| key.public()).collect())
}

#[test]
fn who_signed_it_decides() {
    let (ours, theirs) = (PrivateKey::generate(), PrivateKey::generate());
    let sealed = seal(b"it is so", Some(&ours));
    assert_eq!(open(&sealed, &trusting(&[&ours])), Ok(b"it is so".to_vec()));
    assert_eq!(open(&sealed, &trusting(&[&theirs, &ours])), Ok(b"it is so".to_vec()));
    assert_eq!(open(&sealed, &trusting(&[&theirs])), Err(Refused::Untrusted));
    assert_eq!(open(&sealed, &trusting(&[])), Err(Refused::Untrusted));
    assert_eq!(open(&sealed, &Trust::Server), Ok(b"it is so".to_vec()));
    let unsigned = seal(b"it is so", None);
    assert_eq!(open(&unsigned, &trusting(&[&ours])), Err(Refused::Untrusted));
    assert_eq!(open(&unsigned, &Trust::Server), Ok(b"it is so".to_vec()));
}

#[test]
fn no_byte_can_be_changed() {
    let ours = PrivateKey::generate();
    let trust = trusting(&[&ours]);
    let sealed = seal(b"{\"version\":1}", Some(&ours));
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            // Nothing else than what was signed is ever believed.
            if let Ok(payload) = open(&changed, &trust) {
                assert_eq!(payload, b"{\"version\":1}");
            }
        }
        assert_eq!(open(&sealed[..at], &trust), Err(Refused::Malformed));
    }
}

#[test]
fn a_signature_of_another_content_is_forged() {
    let ours = PrivateKey::generate();
    let mut envelope: serde_json::Value =
        serde_json::from_slice(&seal(b"one", Some(&ours))).expect("JSON");
    envelope["payload"] = STANDARD.encode("two").into();
    let forged = serde_json::to_vec(&envelope).expect("JSON");
    let id: String = ours.public().id().chars().take(12).collect();
    assert_eq!(open(&forged, &trusting(&[&ours])), Err(Refused::Forged(id)));
}

#[test]
fn keys_are_read_as_they_were_written() {
    let key = PrivateKey::generate();
    let again = PrivateKey::from_pem(&key.to_pem()).expect("it was written");
    assert_eq!(again.public(), key.public());
    let public = PublicKey::from_pem(&key.public().to_pem()).expect("it was written");
    assert_eq!(public, key.public());
    assert_eq!(public.id().len(), 64);
    assert_eq!(PrivateKey::from_pem(&key.public().to_pem()).err(), Some(KeyError::Private));
    assert_eq!(PublicKey::from_pem(&key.to_pem()).err(), Some(KeyError::Public));
    assert_eq!(PublicKey::from_pem("").err(), Some(KeyError::Public));
}

#[test]
fn a_key_and_its_signature_never_change() {
    let pem = "-----BEGIN PRIVATE KEY-----\n\
               MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n\
               -----END PRIVATE KEY-----\n";
    let key = PrivateKey::from_pem(pem).expect("a good key");
    assert_eq!(key.to_pem(), pem);
    let sealed = String::from_utf8(seal(b"{}", Some(&key))).expect("JSON");
    let digest = "573fca1a7262be157cd80b54f89197e36fb42fb3c67c1eb093d05ae82a62f056";
    assert_eq!(Sha256::of(sealed.as_bytes()).hex(), digest);
}
