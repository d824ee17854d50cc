//! attach: not built yet.
