//! enrich: not built yet.
