//! OCI images as values: layers, configuration, manifests, the layout on disk, and what leaves and enters it.
//!
//! One path for every exporter: a step's [`Diff`](reimage_castore::Diff) becomes [`LayerContent`], is packed
//! into a blob of a [`Layout`], and [`assemble`] puts configuration and manifest over it; the digest is known
//! before anything leaves and is the same in a layout, an archive and a registry. Knows no network, no store
//! and no clock: contents come from a function that opens a digest, times from the caller.

mod assemble;
mod compare;
mod compress;
mod config;
mod decode;
mod difference;
mod document;
mod export;
mod fuzz;
mod import;
mod layer;
mod layout;
mod pack;
mod profile;
mod reference;
mod rootfs;
mod spool;
mod tar;
mod unpack;
mod verify;

pub use assemble::{
    AssembleError, Assembled, CarriedLayer, Image, ImageLayer, assemble, assemble_index,
    check_layers,
};
pub use compare::{CompareError, Compared, Difference, compare};
pub use config::{Config, ConfigError, Healthcheck, OwnConfig, OwnHealthcheck};
pub use decode::decode;
pub use difference::first_difference;
pub use document::{
    Blob, CONFIG, DOCKER_CONFIG, DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, DocumentError, History,
    INDEX, ImageConfig, Index, MANIFEST, Manifest, Platform, RootFs,
};
pub use export::{
    Archive, ExportError, NotKept, export_archive, export_archive_without, export_oci_dir,
    export_rootfs_dir, export_rootfs_tar, link_oci_dir,
};
pub use fuzz::FUZZ_TARGETS;
pub use import::{ImportError, Imported, import_archive, import_layout};
pub use layer::{LayerContent, LayerError};
pub use layout::{
    Away, BlobWriter, Checked, Download, Layout, LayoutError, Pruned, REF_NAME, Session,
    StoredImage,
};
pub use pack::{PackError, PackedLayer, pack, write_tar};
pub use profile::Profile;
pub use reference::{Reference, ReferenceError};
pub use rootfs::{RootfsError, rootfs, unpack_layer};
pub use spool::Spool;
pub use unpack::{Limits, UnpackError, unpack};
pub use verify::VerifiedReader;
