//! The `edgeslm` command as its users meet it: what it prints, how it ends, and what it says of what is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod cli {
    mod answers;
    mod check;
    mod command;
    mod evaluation;
    mod failures;
    mod forms;
    mod gguf;
    mod import;
    mod measurements;
}
