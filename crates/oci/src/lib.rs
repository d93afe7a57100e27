//! OCI images as values: tar, compression, layout.
