//! The log of a server on standard error: one line for each event, as text or as JSON.
//!
//! What a line says comes from the code alone, and values in it are ids, codes and the words of
//! libraries. Should one of them hold what somebody typed all the same, it cannot begin a line of
//! its own or command a terminal: line ends and escape sequences in it are shown, not obeyed.

use std::io::Write;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::tell;
use crate::config::{Log, LogFormat};

/// Begins to log.
pub(super) fn begin(options: &Log) {
    if subscriber(options, std::io::stderr).try_init().is_err() {
        tell("qunliu: a log is set up already");
    }
}

fn subscriber<W: Write + 'static>(
    options: &Log,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&options.level))
        .with_writer(move || OneLine(writer()));
    match options.format {
        // Without colours: then no escape sequence is of our own making.
        LogFormat::Text => Box::new(log.with_ansi(false).finish()),
        LogFormat::Json => Box::new(log.json().with_span_list(false).finish()),
    }
}

/// Writes each event, which comes whole, as one line without control characters.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        let mut shown = String::with_capacity(event.len() + 1);
        for c in String::from_utf8_lossy(line).chars() {
            match c.is_control() {
                // As JSON writes it, so that a line of JSON stays what it is.
                true => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
                false => shown.push(c),
            }
        }
        shown.push('\n');
        self.0.write_all(shown.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `work` runs.
    fn logged(format: LogFormat, work: impl FnOnce()) -> String {
        let (sink, level) = (Sink::default(), "debug".to_owned());
        let into = sink.clone();
        let log = subscriber(&Log { level, format }, move || into.clone());
        tracing::subscriber::with_default(log, work);
        let written = sink.0.lock().unwrap().clone();
        String::from_utf8(written).unwrap()
    }

    const HOSTILE: &str = "a\r\n2026-01-01 ERROR forged\x1b[2J\u{9b}2J\x07";

    #[test]
    fn nothing_that_is_logged_begins_a_line_or_commands_a_terminal() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, || {
                let span = tracing::error_span!("request", route = %HOSTILE);
                let _in = span.enter();
                tracing::warn!(error = %HOSTILE, other = ?HOSTILE, "{}", HOSTILE);
            });
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            let shown = text.trim_end_matches('\n');
            assert!(!shown.chars().any(char::is_control), "{text:?}");
            assert!(shown.contains("forged"), "it is shown: {text:?}");
        }
    }

    #[test]
    fn a_line_of_json_is_an_object_that_names_its_trace() {
        let text = logged(LogFormat::Json, || {
            let span = tracing::error_span!("request", trace = %"ab");
            span.in_scope(|| tracing::error!(group = %"g_1", "a request failed"));
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["span"]["trace"], "ab");
        assert_eq!(line["fields"]["group"], "g_1");
        assert_eq!(line["fields"]["message"], "a request failed");
    }

    #[test]
    fn what_is_below_the_level_is_left_out() {
        assert_eq!(logged(LogFormat::Text, || tracing::trace!("much")), "");
    }
}
