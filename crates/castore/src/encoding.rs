//! The one canonical binary encoding, specified in `docs/encoding.md`.
//!
//! A value has exactly one encoding, and a decoder refuses every other: so the digest of an encoding is the
//! digest of the value. Numbers are LEB128 in their shortest form, bytes carry their length, maps are sorted
//! and have no duplicates, and nothing may follow the value.

use thiserror::Error;

/// Bytes that are not the canonical encoding of a value.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("Not a canonical encoding at byte {at}: {what}")]
pub struct DecodeError {
    /// Offset in bytes.
    pub at: usize,
    /// What was found wrong.
    pub what: String,
}

/// Builds an encoding.
#[derive(Debug)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Starts with the magic of a kind of value and its version, such as `reimage tree 1\n`.
    pub fn new(magic: &str) -> Self {
        Self(magic.as_bytes().to_vec())
    }

    /// Appends an unsigned number.
    pub fn number(&mut self, mut value: u64) -> &mut Self {
        loop {
            let low = value.to_le_bytes()[0];
            value >>= 7;
            if value == 0 && low < 0x80 {
                self.0.push(low);
                return self;
            }
            self.0.push(low | 0x80);
        }
    }

    /// Appends a signed number, zigzag.
    pub fn signed(&mut self, value: i64) -> &mut Self {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned())
    }

    /// Appends bytes with their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends bytes whose length the format fixes.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends the number of items and then each of them.
    pub fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
        self
    }

    /// Appends 0, or 1 and the value.
    pub fn option<T>(&mut self, value: Option<T>, each: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            None => {
                self.number(0);
            }
            Some(value) => {
                self.number(1);
                each(self, value);
            }
        }
        self
    }

    /// The encoding.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads an encoding; every method fails on what is not canonical.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Starts after the magic, which must be there.
    pub fn new(bytes: &'a [u8], magic: &str) -> Result<Self, DecodeError> {
        let decoder = Self { bytes, at: magic.len() };
        if bytes.starts_with(magic.as_bytes()) {
            Ok(decoder)
        } else {
            Err(DecodeError {
                at: 0,
                what: format!("it does not begin with `{}`", magic.trim_end()),
            })
        }
    }

    /// An error at the present place.
    pub fn error(&self, what: impl Into<String>) -> DecodeError {
        DecodeError { at: self.at, what: what.into() }
    }

    /// Reads an unsigned number.
    pub fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.raw(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(self.error("a number beyond 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.error("a number that is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(self.error("a number beyond 64 bits"))
    }

    /// Reads a number that fits into `T`.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        let value = self.number()?;
        T::try_from(value).map_err(|_| self.error(format!("the number {value} is out of range")))
    }

    /// Reads a signed number.
    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Reads bytes with their length.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.small::<usize>()?;
        self.raw(len)
    }

    /// Reads bytes with their length that must be UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.error("text that is not UTF-8"))
    }

    /// Reads `len` bytes.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.error("it ends too early"))?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    /// Reads 32 bytes.
    pub fn raw32(&mut self) -> Result<[u8; 32], DecodeError> {
        let bytes = self.raw(32)?;
        Ok(bytes.try_into().expect("32 bytes were read"))
    }

    /// Reads a list item by item.
    pub fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let len = self.small::<usize>()?;
        // A hostile length must not reserve memory: every item takes a byte at least.
        let mut items = Vec::with_capacity(len.min(self.bytes.len() - self.at));
        for _ in 0..len {
            items.push(each(self)?);
        }
        Ok(items)
    }

    /// Reads a list whose items ascend strictly.
    pub fn sorted<T: Ord>(
        &mut self,
        each: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let items = self.list(each)?;
        if items.is_sorted_by(|a, b| a < b) {
            Ok(items)
        } else {
            Err(self.error("a list that is not sorted or has duplicates"))
        }
    }

    /// Reads 0, or 1 and a value.
    pub fn option<T>(
        &mut self,
        each: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.number()? {
            0 => Ok(None),
            1 => each(self).map(Some),
            other => Err(self.error(format!("expected 0 or 1, got {other}"))),
        }
    }

    /// Checks that nothing follows.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.error("bytes after the end")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_not_canonical() {
        let number = |bytes: &[u8]| Decoder::new(bytes, "").expect("no magic").number();
        assert_eq!(number(&[0x80, 0x01]), Ok(128));
        assert!(number(&[0x81, 0x00]).is_err(), "a padded one");
        assert!(number(&[0xff; 11]).is_err());
        assert!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).is_err());
        assert!(number(&[0x80]).is_err());
        assert!(Decoder::new(b"reimage tree 2\n", "reimage tree 1\n").is_err());
        let unsorted = [2, 5, 4];
        assert!(Decoder::new(&unsorted, "").expect("no magic").sorted(Decoder::number).is_err());
        let huge = [0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(Decoder::new(&huge, "").expect("no magic").list(Decoder::number).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(n in any::<u64>(), s in any::<i64>(), b in any::<Vec<u8>>(), o in any::<Option<u64>>()) {
            let mut encoder = Encoder::new("m\n");
            encoder.number(n).signed(s).bytes(&b).option(o, |e, v| { e.number(v); });
            let bytes = encoder.finish();
            let mut decoder = Decoder::new(&bytes, "m\n")?;
            prop_assert_eq!(decoder.number()?, n);
            prop_assert_eq!(decoder.signed()?, s);
            prop_assert_eq!(decoder.bytes()?, &b);
            prop_assert_eq!(decoder.option(Decoder::number)?, o);
            decoder.finish()?;
        }
    }
}
