//! Decoding: whatever a layer is encoded as, by its first bytes, and never more than a limit.

use std::io::{self, BufRead, BufReader, Read};

/// Reads what `blob` is an encoding of: gzip or Zstandard of any number of frames, or nothing.
///
/// Reading fails after `limit` bytes: a bomb is not unpacked.
pub fn decode<'a>(blob: impl Read + 'a, limit: u64) -> io::Result<Box<dyn Read + 'a>> {
    let mut blob = BufReader::with_capacity(128 << 10, blob);
    let mut magic = Vec::new();
    // Enough of the beginning, however it arrives.
    while magic.len() < 4 {
        let buffer = blob.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let taken = buffer.len().min(4 - magic.len());
        magic.extend_from_slice(&buffer[..taken]);
        blob.consume(taken);
    }
    let unsupported = |name: &str| {
        let message = format!("it is compressed with {name}, which OCI does not have");
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    };
    let kind = magic.clone();
    let whole = io::Cursor::new(magic).chain(blob);
    match kind.as_slice() {
        [0x1f, 0x8b, ..] => {
            let gzip = flate2::bufread::MultiGzDecoder::new(BufReader::new(whole));
            Ok(Box::new(Limited { inner: gzip, left: limit }))
        }
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let zstd = zstd::Decoder::with_buffer(BufReader::new(whole))?;
            Ok(Box::new(Limited { inner: zstd, left: limit }))
        }
        [0xfd, b'7', b'z', b'X'] => unsupported("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9'] => unsupported("bzip2"),
        _ => Ok(Box::new(Limited { inner: whole, left: limit })),
    }
}

struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "it unpacks to more than the limit")
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    fn decoded(blob: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        decode(blob, limit)?.read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn every_profile_and_several_frames() {
        for profile in Profile::ALL {
            let (mut blob, mut frame) = (Vec::new(), Vec::new());
            for part in [&b"one "[..], b"two ", b"three"] {
                profile.encode(part, &mut frame);
                blob.extend_from_slice(&frame);
            }
            assert_eq!(decoded(&blob, 13).expect("it decodes"), b"one two three");
            let error = decoded(&blob, 12).expect_err("too much");
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            if profile != Profile::Plain {
                assert!(decoded(&blob[..blob.len() - 3], 99).is_err(), "it ends too early");
            }
        }
        assert_eq!(decoded(b"", 0).expect("nothing"), b"");
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let mut bomb = Vec::new();
        Profile::Zstd1.encode(&vec![0; 4 << 20], &mut bomb);
        let bomb = bomb.repeat(1000);
        assert!(bomb.len() < 1 << 20);
        assert!(decoded(&bomb, 10 << 20).is_err());
    }

    #[test]
    fn others_are_named() {
        let error = decoded(b"\xfd7zXZ\0", 9).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("it is compressed with xz, which OCI does not have"));
    }
}
