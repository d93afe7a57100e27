//! What compresses a stream, told from its first bytes: names and content types lie.

use std::io::{self, BufRead, Read};

use reimage_castore::read_full;

/// Memory that a decoder of xz may take: what the highest preset needs is 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;
/// Largest window of zstd, as a power of two: 128 MiB, what the command-line tool accepts by default.
const ZSTD_WINDOW: u32 = 27;

/// A way to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// None, or none that is known.
    None,
    Gzip,
    Bzip2,
    Xz,
    Lzma,
    Zstd,
}

impl Compression {
    /// What these first bytes of a stream say; six are enough.
    pub(crate) fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x5d, 0, 0, ..] => Self::Lzma,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Puts the decoder before `from` that its first bytes ask for.
pub(crate) fn decompress<'a>(mut from: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 6];
    let got = read_full(&mut from, &mut magic)?;
    let kind = Compression::of(&magic[..got]);
    let from = io::Cursor::new(magic[..got].to_vec()).chain(from);
    let from = io::BufReader::with_capacity(64 << 10, from);
    let reader: Box<dyn Read + 'a> = match kind {
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(from)),
        Compression::Xz => {
            let concatenated = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, concatenated)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(from, stream))
        }
        Compression::Lzma => {
            let stream = liblzma::stream::Stream::new_lzma_decoder(XZ_MEMORY)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(from, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(from)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
    };
    Ok(reader)
}
