//! Compression: bytes do not depend on how content arrives or on threads, and errors come out.

use super::*;
use crate::profile::tests::content;

fn run(profile: Profile, content: &[u8], piece: usize) -> (Compressed, Vec<u8>) {
    let mut blob = Vec::new();
    let compressed = compress::<io::Error>(profile, &mut blob, |frames| {
        content.chunks(piece).try_for_each(|piece| frames.write_all(piece))
    });
    (compressed.expect("a vector takes everything"), blob)
}

#[test]
fn the_same_bytes_however_they_arrive() {
    let content = content(9_000_001);
    for profile in Profile::ALL {
        let (one, blob) = run(profile, &content, content.len());
        let mut expected = Vec::new();
        let mut encoded = Vec::new();
        for frame in content.chunks(profile.frame()) {
            profile.encode(frame, &mut encoded);
            expected.extend_from_slice(&encoded);
        }
        assert!(blob == expected, "{}: frames in order, each on its own", profile.name());
        assert_eq!(one.diff_id, Sha256::of(&content));
        assert_eq!(one.digest, Sha256::of(&blob));
        assert_eq!(one.size, blob.len() as u64);
        assert_eq!(run(profile, &content, 70_001), (one, blob));
    }
}

#[test]
fn from_within_a_pool_that_is_busy() {
    let pool = ThreadPoolBuilder::new().num_threads(1).build().expect("threads can start");
    let content = content(3_000_000);
    let expected = run(Profile::Gzip1, &content, content.len());
    assert!(pool.install(|| run(Profile::Gzip1, &content, 4096)) == expected);
}

struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_it() {
    let content = content(1 << 20);
    for profile in Profile::ALL {
        let mut written = 0;
        let result = compress::<io::Error>(profile, &mut Full(1 << 20), |frames| {
            for _ in 0..300 {
                frames.write_all(&content)?;
                written += content.len();
            }
            Ok(())
        });
        assert_eq!(result.expect_err("full").kind(), io::ErrorKind::StorageFull);
        assert!(written < 300 << 20, "{}: it stops early", profile.name());
    }
}

#[test]
fn an_error_of_the_producer_comes_out() {
    let result = compress::<io::Error>(Profile::Gzip1, &mut Vec::new(), |frames| {
        frames.write_all(b"x")?;
        Err(io::ErrorKind::NotFound.into())
    });
    assert_eq!(result.expect_err("it failed").kind(), io::ErrorKind::NotFound);
}
