//! Debian packages that the tests make, from a mirror on loopback: what is refused, what needs no network, and that
//! what comes out is what real dpkg makes.

mod bad;
mod cache;
mod installed;
