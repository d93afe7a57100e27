//! Profiles: golden bytes. When one of these moves, the profile needs a new name, not a new vector.

use std::io::Read;

use proptest::prelude::*;
use reimage_castore::Sha256;

use super::*;

const GZIP_SMALL: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0x2b, 0x4a, 0xcd, 0xcc, 0x4d, 0x4c,
    0x4f, 0x55, 0x28, 0xa2, 0x11, 0x0d, 0x00, 0x2f, 0x97, 0x24, 0x49, 0x60, 0x00, 0x00, 0x00,
];
const ZSTD_SMALL: &[u8] = &[
    0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x60, 0x7d, 0x00, 0x00, 0x40, 0x72, 0x65, 0x69, 0x6d, 0x61, 0x67,
    0x65, 0x20, 0x01, 0x00, 0xb5, 0xa9, 0x70, 0x01,
];

/// Bytes as compressible as a program, from a fixed generator.
pub(crate) fn content(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(size + 64);
    while bytes.len() < size {
        let word = next();
        if word % 3 == 0 && bytes.len() > 4096 {
            let from = bytes.len() - usize::try_from(word >> 52).expect("12 bits") - 1;
            let length = usize::try_from(word >> 16 & 63).expect("6 bits");
            bytes.extend_from_within(from..(from + length).min(bytes.len()));
        } else {
            bytes.extend(word.to_le_bytes().map(|b| b & 0x5f));
        }
    }
    bytes.truncate(size);
    bytes
}

fn encoded(profile: Profile, content: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 2, 3];
    profile.encode(content, &mut out);
    out
}

fn decoded(profile: Profile, bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    match profile {
        Profile::Gzip1 => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut content),
        Profile::Zstd1 => zstd::Decoder::new(bytes).expect("a frame").read_to_end(&mut content),
        Profile::Plain => bytes.take(u64::MAX).read_to_end(&mut content),
    }
    .expect("it decodes");
    content
}

#[test]
fn small_vectors() {
    assert_eq!(encoded(Profile::Gzip1, &b"reimage ".repeat(12)), GZIP_SMALL);
    assert_eq!(encoded(Profile::Zstd1, &b"reimage ".repeat(12)), ZSTD_SMALL);
    assert_eq!(encoded(Profile::Plain, b"reimage"), b"reimage");
}

#[test]
fn golden_digests_of_whole_frames() {
    for (profile, size, digest) in [
        (
            Profile::Gzip1,
            1 << 20,
            "f4460b9b019f371af021747c02d05289ec70ea32ccf9b9abde033be76a96d76a",
        ),
        (
            Profile::Gzip1,
            77_777,
            "f12b4f6d323aa85c5629c9978891baec61aca4ab22ae6915e7ecbf1a15cd2205",
        ),
        (
            Profile::Zstd1,
            4 << 20,
            "159ace497d3c159db02768737ba2ef004028b61c97ab9c4cf09b4cc30e88c2c1",
        ),
        (
            Profile::Zstd1,
            777_777,
            "3a3d97d587504bf6bf0d6cbba1560b5287f79a3e6f71bc37a5657e4dc40d6357",
        ),
    ] {
        let bytes = encoded(profile, &content(size));
        let name = profile.name();
        assert_eq!(
            Sha256::of(&bytes).hex(),
            digest,
            "{name} of {size} bytes; a new encoder is a new name"
        );
        assert_eq!(decoded(profile, &bytes), content(size));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// An encoder that was used before, for whatever, gives the bytes of a new one.
    #[test]
    fn no_state_is_kept(before in 0..300_000_usize, bytes in proptest::collection::vec(0..4_u8, 0..5000)) {
        for profile in Profile::ALL {
            let fresh = std::thread::scope(|scope| {
                scope.spawn(|| encoded(profile, &bytes)).join().expect("no panic")
            });
            let _ = encoded(profile, &content(before));
            let used = encoded(profile, &bytes);
            prop_assert_eq!(&used, &fresh);
            prop_assert_eq!(&decoded(profile, &used), &bytes);
        }
    }
}
