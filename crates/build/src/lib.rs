//! Runs a plan of reimage: key, look up, execute, ingest.
