//! view: not built yet.
