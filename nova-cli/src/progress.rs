//! How far long work is: on stderr, where that is a terminal; nothing otherwise.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// So many bytes are to be done.
pub(crate) fn bytes(len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(len).with_style(style.expect("a template that is right"))
}

/// Work of which nobody knows how much is left.
pub(crate) fn working(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Bytes that go by, nobody knows how many.
pub(crate) fn passing() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {bytes} {bytes_per_sec}");
    ProgressBar::new_spinner().with_style(style.expect("a template that is right"))
}
