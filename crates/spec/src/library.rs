//! The library that specs import, inside the binary.

/// The text of `reimage.ncl`: for `init --editor`, which writes it to where nls looks.
pub const LIBRARY: &str = include_str!("../../../stdlib/reimage.ncl");

/// The name a spec imports it by.
pub const LIBRARY_FILE: &str = "reimage.ncl";

/// The directory in which the library seems to lie. It exists on no disk.
pub(crate) const ROOT: &str = "/@reimage";

/// The constructors as contracts, with the tag of their `step` field.
pub(crate) const KINDS: [(&str, &str); 9] = [
    ("Local", "local"),
    ("Files", "files"),
    ("Http", "http"),
    ("Git", "git"),
    ("Oci", "oci"),
    ("Debian", "debian"),
    ("Run", "run"),
    ("Copy", "copy"),
    ("Image", "image"),
];

/// The sections of a spec, in their order.
pub(crate) const SECTIONS: [&str; 7] =
    ["args", "target", "baseline", "steps", "images", "exports", "checks"];
