use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// `[INFO] node ID: 01…`, for people.
    Text,
    /// One JSON object with `timestamp`, `level`, `target`, the fields, and the `span` it lies in,
    /// for machines.
    Json,
}

/// Sends the process's log to standard error. Called once.
pub(crate) fn start(format: LogFormat, debug: bool) {
    // Only our own crates say more with `-d 1`: a line for each request shall not drown in those
    // of the HTTP and storage libraries.
    let ours = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let filter = Targets::new().with_default(LevelFilter::WARN).with_targets([
        ("objstore", ours),
        ("objstore_core", ours),
        ("objstore_client", ours),
    ]);
    let registry = tracing_subscriber::registry().with(filter);
    // With internal errors logged, a closed standard error would be answered with a print to
    // standard error, and that with a panic.
    let installed = match format {
        LogFormat::Text => registry
            .with(
                layer()
                    .event_format(Lines)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr)
                    .log_internal_errors(false),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(
                layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false)
                    .with_writer(std::io::stderr)
                    .log_internal_errors(false),
            )
            .try_init(),
    };
    // Nobody else in this process installs a logger, so there is nothing to report it to either.
    drop(installed);
}

/// `[LEVEL] message field=value`, and the fields of the span it lies in. The time is left to whoever collects the lines (journald,
/// docker), as the original left it.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if writer.has_ansi_escapes() {
            let colour = match level {
                Level::ERROR => 31,
                Level::WARN => 33,
                Level::INFO => 32,
                _ => 34,
            };
            write!(writer, "[\u{1b}[{colour}m{level}\u{1b}[0m] ")?;
        } else {
            write!(writer, "[{level}] ")?;
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        // What the request is called that this happened for.
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
    }
}
