//! The C ABI of edgeslm.
