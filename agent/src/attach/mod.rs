//! attach: not built yet, but for the reading of kernel struct layouts.

pub mod btf_offsets;
