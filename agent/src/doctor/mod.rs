//! doctor: not built yet.
