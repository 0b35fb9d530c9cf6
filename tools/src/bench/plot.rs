//! Results as a picture: for each object size, throughput and latency over concurrency.
//!
//! All axes are logarithmic: concurrency is swept in factors, and what differs by a factor should look the same
//! wherever it is.

use std::collections::BTreeMap;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::report::Row;

/// One row of two panels per object size.
const PANEL_WIDTH: u32 = 480;
const PANEL_HEIGHT: u32 = 340;
/// Bytes per second tell more than requests per second from this object size on.
const BANDWIDTH_FROM_BYTES: u64 = 1 << 20;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// The rows as an SVG document; `None` if there are none.
///
/// # Errors
/// What could not be drawn, as text for people.
pub(super) fn svg(rows: &[Row]) -> Result<Option<String>, String> {
    let mut by_size: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_size.entry(row.size_bytes).or_default().push(row);
    }
    let Ok(size_count @ 1..) = u32::try_from(by_size.len()) else {
        return Ok(None);
    };
    let mut document = String::new();
    let size = (2 * PANEL_WIDTH, size_count.saturating_mul(PANEL_HEIGHT));
    draw(&by_size, SVGBackend::with_string(&mut document, size))
        .map_err(|error| error.to_string())?;
    Ok(Some(document))
}

fn draw<'a>(
    by_size: &BTreeMap<u64, Vec<&Row>>,
    backend: SVGBackend<'a>,
) -> Result<(), DrawError<'a>> {
    let root = backend.into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((by_size.len(), 2));
    for ((size_bytes, rows), pair) in by_size.iter().zip(panels.chunks(2)) {
        let [left, right] = pair else { continue };
        let size = crate::config::ByteSize(*size_bytes);
        let (unit, rate): (_, fn(&Row) -> f64) = if *size_bytes < BANDWIDTH_FROM_BYTES {
            ("requests per second", |row| row.requests_per_second)
        } else {
            ("MiB per second", |row| row.mebibytes_per_second)
        };
        panel(
            left,
            &format!("{size}: {unit}"),
            &lines(rows, "", 1.0, rate),
        )?;
        let mut latencies = lines(rows, " p50", 1.0, |row| row.latency_ms_p50);
        latencies.extend(lines(rows, " p99", 0.4, |row| row.latency_ms_p99));
        panel(right, &format!("{size}: latency in ms"), &latencies)?;
    }
    root.present()
}

/// One line of a panel: what was measured at each concurrency.
struct Line {
    name: String,
    color: RGBAColor,
    points: Vec<(f64, f64)>,
}

/// One line for each operation, in a color that it has in all panels.
fn lines(rows: &[&Row], suffix: &str, opacity: f64, value: impl Fn(&Row) -> f64) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for row in rows {
        let name = format!("{}{suffix}", row.operation.name());
        let point = (concurrency(row), value(row));
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                name,
                color: Palette99::pick(lines.len()).mix(opacity),
                points: vec![point],
            }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

fn concurrency(row: &Row) -> f64 {
    super::measurement::float(row.concurrency as u64)
}

fn panel<'a>(area: &Area<'a>, title: &str, lines: &[Line]) -> Result<(), DrawError<'a>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let swept = span(points().map(|point| point.0));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(
            // Room for the legend on the right.
            (swept.start..swept.end * 3.0).log_scale(),
            span(points().map(|point| point.1)).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("requests under way")
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.15))
        .draw()?;
    for line in lines {
        let style = line.color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(3))?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .border_style(BLACK.mix(0.2))
        .background_style(WHITE.mix(0.8))
        .draw()
}

/// A number as people write it.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that the library calls"
)]
fn label(value: &f64) -> String {
    format!("{}", (value * 1000.0).round() / 1000.0)
}

/// A range around the values, wide enough to be an axis whatever they are.
fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        return 0.1..10.0;
    }
    low / 1.5..high * 1.5
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::measurement::Tally;
    use crate::bench::operation::Operation;
    use crate::bench::report::Subject;

    fn row(operation: Operation, size_bytes: u64, concurrency: usize) -> Row {
        let mut tally = Tally::default();
        (0..100).for_each(|_| tally.success(Duration::from_millis(2), size_bytes));
        let subject = Subject {
            operation,
            size_bytes,
            concurrency,
        };
        Row::new(subject, &tally.over(Duration::from_secs(1)), None)
    }

    #[test]
    fn each_size_has_its_panels_and_each_operation_its_lines() {
        let rows: Vec<Row> = [4 << 10, 64 << 20]
            .into_iter()
            .flat_map(|size| {
                [1, 64].into_iter().flat_map(move |concurrency| {
                    [Operation::Put, Operation::Get]
                        .map(|operation| row(operation, size, concurrency))
                })
            })
            .collect();
        let svg = svg(&rows).unwrap().unwrap();
        for text in [
            "4KiB: requests per second",
            "64MiB: MiB per second",
            "64MiB: latency in ms",
            "put p50",
            "get p99",
        ] {
            assert!(svg.contains(text), "{text} is missing in\n{svg}");
        }
    }

    #[test]
    fn a_single_point_and_measurements_without_any_success_are_drawn_too() {
        let subject = Subject {
            operation: Operation::List,
            size_bytes: 1,
            concurrency: 1,
        };
        let failed = Row::new(subject, &Tally::default(), None);
        assert!(svg(&[failed]).unwrap().is_some());
        assert!(svg(&[]).unwrap().is_none());
    }
}
