//! Specs, pins, locks and plans of reimage as pure data.
