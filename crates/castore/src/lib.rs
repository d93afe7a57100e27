//! Content-addressed trees, diffs, actions and the store of reimage.
