//! A conversation: its KV cache, the generate loop and the stream of events.

#![forbid(unsafe_code)]

mod cancel;

pub use cancel::CancelToken;
