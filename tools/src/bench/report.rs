//! Results as a table and as JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::measurement::Tally;
use super::operation::Operation;

/// One measurement, in units that say their name.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(super) operation: Operation,
    pub(super) size_bytes: u64,
    pub(super) concurrency: usize,
    /// For how long the worker that was longest at work was.
    seconds: f64,
    request_count: u64,
    error_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    pub(super) requests_per_second: f64,
    pub(super) mebibytes_per_second: f64,
    pub(super) latency_ms_p50: f64,
    latency_ms_p90: f64,
    pub(super) latency_ms_p99: f64,
    latency_ms_p999: f64,
    latency_ms_max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerCost>,
}

/// What the measurement cost the server.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct ServerCost {
    /// CPU seconds of the server's process for the requests that were measured.
    pub(crate) cpu_seconds: f64,
    /// CPU seconds per 1,000 requests.
    pub(crate) cpu_seconds_per_1000: f64,
    /// Largest resident memory seen.
    pub(crate) resident_bytes_max: u64,
}

/// What was measured, apart from its result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    /// The operation.
    pub(crate) operation: Operation,
    /// Object size.
    pub(crate) size_bytes: u64,
    /// Connections.
    pub(crate) concurrency: usize,
}

impl Row {
    /// What `tally` says of `subject`.
    pub(crate) fn new(subject: Subject, tally: &Tally, server: Option<ServerCost>) -> Self {
        let latency_ms = |quantile| tally.latency(quantile).as_secs_f64() * 1e3;
        Self {
            operation: subject.operation,
            size_bytes: subject.size_bytes,
            concurrency: subject.concurrency,
            seconds: tally.span.as_secs_f64(),
            request_count: tally.request_count,
            error_count: tally.error_count,
            first_error: tally.first_error.clone(),
            requests_per_second: tally.requests_per_second,
            mebibytes_per_second: tally.bytes_per_second / f64::from(1 << 20),
            latency_ms_p50: latency_ms(0.5),
            latency_ms_p90: latency_ms(0.9),
            latency_ms_p99: latency_ms(0.99),
            latency_ms_p999: latency_ms(0.999),
            latency_ms_max: tally.latency_max().as_secs_f64() * 1e3,
            server,
        }
    }

    /// Requests that failed.
    pub(crate) fn error_count(&self) -> u64 {
        self.error_count
    }

    /// One line for people who wait.
    pub(crate) fn summary(&self) -> String {
        let error = self
            .first_error
            .as_deref()
            .map_or_else(String::new, |error| format!("; first error: {error}"));
        format!(
            "{:.0}/s, {} errors{error}",
            self.requests_per_second, self.error_count
        )
    }
}

/// The rows as a table.
pub(crate) fn table(rows: &[Row]) -> Table {
    let has_server = rows.iter().any(|row| row.server.is_some());
    let mut header = vec![
        "operation",
        "size",
        "conc",
        "req/s",
        "MiB/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "errors",
    ];
    if has_server {
        header.extend(["srv CPU s/1k", "srv RSS MiB"]);
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for row in rows {
        let mut cells = vec![
            row.operation.name().to_owned(),
            crate::config::ByteSize(row.size_bytes).to_string(),
            row.concurrency.to_string(),
            format!("{:.0}", row.requests_per_second),
            format!("{:.1}", row.mebibytes_per_second),
            format!("{:.2}", row.latency_ms_p50),
            format!("{:.2}", row.latency_ms_p90),
            format!("{:.2}", row.latency_ms_p99),
            format!("{:.2}", row.latency_ms_p999),
            format!("{:.2}", row.latency_ms_max),
            row.error_count.to_string(),
        ];
        if has_server {
            cells.push(row.server.map_or_else(String::new, |cost| {
                format!("{:.2}", cost.cpu_seconds_per_1000)
            }));
            cells.push(row.server.map_or_else(String::new, |cost| {
                (cost.resident_bytes_max >> 20).to_string()
            }));
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(server: Option<ServerCost>) -> Row {
        let mut tally = Tally::default();
        (0..200).for_each(|_| tally.success(Duration::from_millis(2), 1 << 20));
        let subject = Subject {
            operation: Operation::Put,
            size_bytes: 1 << 20,
            concurrency: 4,
        };
        Row::new(subject, &tally.over(Duration::from_secs(2)), server)
    }

    #[test]
    fn rates_are_per_second_of_the_measurement() {
        let json = serde_json::to_value(row(None)).unwrap();
        assert_eq!(json["requests_per_second"], 100.0);
        assert_eq!(json["mebibytes_per_second"], 100.0);
        assert_eq!(json["operation"], "put");
        assert!(json.get("server").is_none());
    }

    #[test]
    fn the_server_has_columns_only_if_it_was_watched() {
        assert!(!table(&[row(None)]).to_string().contains("RSS"));
        let cost = ServerCost {
            cpu_seconds: 1.0,
            cpu_seconds_per_1000: 5.0,
            resident_bytes_max: 300 << 20,
        };
        let text = table(&[row(Some(cost))]).to_string();
        assert!(text.contains("5.00") && text.contains("300"), "{text}");
    }
}
