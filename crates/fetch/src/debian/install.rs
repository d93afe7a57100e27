//! Installs packages on a root.
