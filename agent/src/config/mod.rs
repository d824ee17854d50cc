//! config: not built yet.
