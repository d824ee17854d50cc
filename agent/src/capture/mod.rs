//! capture: not built yet.
