//! Resolves and fetches the sources of reimage.
