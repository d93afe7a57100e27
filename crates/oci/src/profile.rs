//! Encoder profiles: a name stands for bytes.
//!
//! A profile cuts a layer into frames of a fixed size and encodes each with fresh state, so its bytes depend
//! on the content alone: not on the number of threads, the processor, or what was encoded before. Encoders
//! are exact-version dependencies and golden vectors hold their output; another encoder is another name.

use std::cell::RefCell;

use zstd::{
    bulk,
    zstd_safe::{CParameter, Strategy},
};

/// A frozen encoder of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// gzip members of 1 MiB of content each, libdeflate 1.26 at level 3; every reader takes it.
    Gzip1,
    /// Zstandard frames of 4 MiB of content each, zstd 1.5.7, double-fast with a window of the whole frame.
    Zstd1,
    /// The archive as it is.
    Plain,
}

impl Profile {
    /// All profiles there are.
    pub const ALL: [Self; 3] = [Self::Gzip1, Self::Zstd1, Self::Plain];

    /// The name: `gzip-1`, `zstd-1` or `none`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip1 => "gzip-1",
            Self::Zstd1 => "zstd-1",
            Self::Plain => "none",
        }
    }

    /// OCI's media type of a layer encoded so.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Gzip1 => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd1 => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    /// Bytes of content in each frame but the last.
    pub const fn frame(self) -> usize {
        match self {
            Self::Gzip1 | Self::Plain => 1 << 20,
            Self::Zstd1 => 4 << 20,
        }
    }

    /// Encodes one frame into `out`, replacing what it holds.
    pub fn encode(self, content: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Gzip1 => gzip(content, out),
            Self::Zstd1 => zstd(content, out),
            Self::Plain => {
                out.clear();
                out.extend_from_slice(content);
            }
        }
    }
}

thread_local! {
    /// Kept for its memory: libdeflate starts every call from scratch.
    static GZIP: RefCell<libdeflater::Compressor> = RefCell::new(libdeflater::Compressor::new(
        libdeflater::CompressionLvl::new(3).expect("level 3 is one of libdeflate's"),
    ));
}

fn gzip(content: &[u8], out: &mut Vec<u8>) {
    GZIP.with_borrow_mut(|encoder| {
        out.resize(encoder.gzip_compress_bound(content.len()), 0);
        let size = encoder
            .gzip_compress(content, out)
            .expect("the output has the size that libdeflate says it needs at most");
        out.truncate(size);
    });
}

/// The parameters are written out, so that they are the profile's and not a level's of some version.
const ZSTD: [CParameter; 8] = [
    CParameter::Strategy(Strategy::ZSTD_dfast),
    CParameter::WindowLog(22),
    CParameter::HashLog(18),
    CParameter::ChainLog(17),
    CParameter::SearchLog(1),
    CParameter::MinMatch(5),
    CParameter::TargetLength(0),
    CParameter::ChecksumFlag(false),
];

fn zstd(content: &[u8], out: &mut Vec<u8>) {
    // A context that was used before can find other matches: each frame gets a new one.
    let mut encoder = bulk::Compressor::new(3).expect("zstd makes a context unless memory ends");
    for parameter in ZSTD {
        encoder.set_parameter(parameter).expect("the parameters are within zstd's bounds");
    }
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(content.len()));
    encoder
        .compress_to_buffer(content, out)
        .expect("the output has the size that zstd says it needs at most");
}

#[cfg(test)]
pub(crate) mod tests;
