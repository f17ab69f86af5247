//! An error with everything that led to it, as one line for people.

use std::error::Error;
use std::iter::successors;

/// The error and its causes, the outermost first, parted by `: `.
pub fn full_text(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = successors(Some(error), |&error| error.source())
        .map(ToString::to_string)
        .collect();
    texts.join(": ")
}

/// The causes alone, the outermost first; empty when there is none.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    error.source().map(full_text).unwrap_or_default()
}
