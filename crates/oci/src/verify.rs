//! A reader that is sure of what it read.

use std::io::{self, Read};

use reimage_castore::{Sha256, Sha256Hasher};

/// Reads exactly what has the digest; its end is an error of kind `InvalidData` if it was something else.
pub struct VerifiedReader<R> {
    inner: R,
    hasher: Option<Sha256Hasher>,
    digest: Sha256,
    left: u64,
}

impl<R: Read> VerifiedReader<R> {
    /// Reads `inner`, which should have `digest` and `size` in bytes.
    pub fn new(inner: R, digest: Sha256, size: u64) -> Self {
        Self { inner, hasher: Some(Sha256Hasher::new()), digest, left: size }
    }

    fn damaged(&self) -> io::Error {
        let message = format!("what was read is not {}", self.digest);
        io::Error::new(io::ErrorKind::InvalidData, message)
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.inner.read(buffer)?;
        if read > 0 {
            self.left = self.left.checked_sub(read as u64).ok_or_else(|| self.damaged())?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..read]);
            }
            return Ok(read);
        }
        if self.hasher.is_none() && self.left == 0 {
            return Ok(0);
        }
        let found = self.hasher.take().map(Sha256Hasher::finish);
        if self.left > 0 || found != Some(self.digest) {
            // Ask again and it fails again.
            self.hasher = Some(Sha256Hasher::new());
            self.left = u64::MAX;
            return Err(self.damaged());
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], digest: Sha256, size: u64) -> io::Result<Vec<u8>> {
        let mut reader = VerifiedReader::new(bytes, digest, size);
        let mut all = Vec::new();
        reader.read_to_end(&mut all)?;
        assert_eq!(reader.read(&mut [0; 8])?, 0, "its end stays its end");
        Ok(all)
    }

    #[test]
    fn only_the_right_bytes_have_an_end() {
        let digest = Sha256::of(b"bytes");
        assert_eq!(read(b"bytes", digest, 5).expect("they are right"), b"bytes");
        assert_eq!(read(b"", Sha256::of(b""), 0).expect("they are right"), b"");
        for wrong in [&b"Bytes"[..], b"byte", b"bytes!", b""] {
            let error = read(wrong, digest, 5).expect_err("wrong");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let mut reader = VerifiedReader::new(&b"x"[..], digest, 5);
        for _ in 0..3 {
            let _ = reader.read(&mut [0; 8]);
        }
        assert!(reader.read(&mut [0; 8]).is_err(), "wrong bytes stay wrong");
    }
}
