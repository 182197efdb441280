//! Progress bars on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar up to `total`; `counts` is how position and total are shown, in indicatif's template language.
pub(crate) fn bar(total: u64, counts: &str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = format!("{{msg:16!}} {{wide_bar}} {counts} {{eta:>4}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// A bar that counts tokens.
pub(crate) fn tokens(total: u64, message: &'static str) -> ProgressBar {
    let bar = bar(total, "{pos}/{len} tokens");
    bar.set_message(message);
    bar
}

/// A bar that counts bytes.
#[cfg(feature = "import")]
pub(crate) fn bytes(total: u64) -> ProgressBar {
    bar(total, "{decimal_bytes}/{decimal_total_bytes}")
}
