//! Evaluates Nickel specs of reimage.
