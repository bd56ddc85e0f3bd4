//! Latency against throughput, as an SVG that any browser shows.

use super::args::LoadArgs;
use super::step::Outcome;
use std::fmt::{self, Write};

/// The size of the picture and the rectangle of the axes, in pixels.
const SIZE: (f64, f64) = (800.0, 500.0);
const LEFT: f64 = 80.0;
const RIGHT: f64 = 680.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 430.0;

/// The percentiles that have a line, with its name and colour. They can be told apart without
/// colours too: by their order.
const LINES: [(f64, &str, &str); 3] =
    [(50.0, "p50", "#0072b2"), (99.0, "p99", "#d55e00"), (99.9, "p99.9", "#7f3c8d")];

/// The picture of some measurements. An x axis from 0, and a logarithmic one for latencies: a
/// stall of a second is as visible as a millisecond.
pub(super) fn svg(load: &LoadArgs, outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = draw(&mut out, load, outcomes);
    out
}

/// Where values are on the picture.
struct Scale {
    /// The right end of the x axis, requests a second.
    most: f64,
    /// The ends of the y axis: powers of ten of microseconds.
    low: i32,
    high: i32,
}

impl Scale {
    fn of(outcomes: &[Outcome]) -> Self {
        let most = outcomes.iter().map(Outcome::per_second).fold(1.0, f64::max);
        let all = || outcomes.iter().flat_map(points).map(|(_, micros)| micros);
        let low = all().fold(f64::MAX, f64::min).clamp(1.0, 1e6).log10().floor();
        let high = all().fold(10.0, f64::max).log10().ceil();
        #[allow(clippy::cast_possible_truncation, reason = "logarithms of 64 bit numbers")]
        let (low, high) = (low as i32, high as i32);
        Self { most: most * 1.05, low: low.min(high - 1), high }
    }

    fn x(&self, per_second: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * per_second / self.most
    }

    fn y(&self, micros: f64) -> f64 {
        let up = (micros.max(1.0).log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        BOTTOM - (BOTTOM - TOP) * up
    }
}

/// The percentiles of a measurement, in microseconds, by the index of their line.
#[allow(clippy::cast_precision_loss, reason = "for a picture")]
fn points(outcome: &Outcome) -> Vec<(usize, f64)> {
    let all = outcome.tally.all();
    let value = |(index, (percentile, ..)): (usize, &(f64, &str, &str))| {
        (index, all.value_at_percentile(*percentile) as f64)
    };
    match all.is_empty() {
        true => Vec::new(),
        false => LINES.iter().enumerate().map(value).collect(),
    }
}

fn draw(out: &mut String, load: &LoadArgs, outcomes: &[Outcome]) -> fmt::Result {
    let scale = Scale::of(outcomes);
    let (width, height) = SIZE;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"16\">zabkeeper: latency against throughput</text>\n\
         <text x=\"{LEFT}\" y=\"44\" fill=\"#555\">{}</text>",
        subtitle(load, outcomes)
    )?;
    axes(out, &scale)?;
    for (index, (.., colour)) in LINES.iter().enumerate() {
        line(out, &scale, outcomes, index, colour)?;
    }
    // In the order of the lines on the picture: the largest percentile is the highest.
    let mut y = TOP + 16.0;
    for (_, name, colour) in LINES.iter().rev() {
        writeln!(out, "<text x=\"{}\" y=\"{y}\" fill=\"{colour}\">{name}</text>", RIGHT + 12.0)?;
        y += 18.0;
    }
    labels(out, &scale, outcomes)?;
    writeln!(out, "</svg>")
}

fn subtitle(load: &LoadArgs, outcomes: &[Outcome]) -> String {
    let by = match outcomes.first().and_then(|outcome| outcome.rate) {
        Some(_) => "points: requests a second that were due",
        None => "points: connections",
    };
    format!(
        "{}, {} keys of {} bytes, {} outstanding each; {by}",
        load.load.name(),
        load.keys,
        load.value_size,
        load.outstanding
    )
}

/// The grid, its numbers and what they are.
fn axes(out: &mut String, scale: &Scale) -> fmt::Result {
    for power in scale.low..=scale.high {
        let micros = 10_f64.powi(power);
        let (y, ms) = (scale.y(micros), micros / 1e3);
        grid(out, (LEFT, y), (RIGHT, y))?;
        writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ms} ms</text>",
            LEFT - 8.0,
            y + 4.0
        )?;
    }
    let step = step(scale.most);
    let mut at = 0.0;
    while at <= scale.most {
        let x = scale.x(at);
        grid(out, (x, TOP), (x, BOTTOM))?;
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{at:.0}</text>",
            BOTTOM + 18.0
        )?;
        at += step;
    }
    writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">requests done a second</text>",
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 42.0
    )
}

fn grid(out: &mut String, from: (f64, f64), to: (f64, f64)) -> fmt::Result {
    writeln!(
        out,
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#ddd\"/>",
        from.0, from.1, to.0, to.1
    )
}

/// The distance of the marks on an axis that ends at `most`: 1, 2 or 5 times a power of ten, such
/// that there are at most eight.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 8.0).max(1.0).log10().floor());
    let steps = [power, power * 2.0, power * 5.0];
    steps.into_iter().find(|step| most / step <= 8.0).unwrap_or(power * 10.0)
}

fn line(
    out: &mut String,
    scale: &Scale,
    outcomes: &[Outcome],
    index: usize,
    colour: &str,
) -> fmt::Result {
    let mut path = String::new();
    for outcome in outcomes {
        for (_, micros) in points(outcome).into_iter().filter(|(line, _)| *line == index) {
            let (x, y) = (scale.x(outcome.per_second()), scale.y(micros));
            let letter = if path.is_empty() { 'M' } else { 'L' };
            write!(path, "{letter}{x:.1} {y:.1}")?;
            writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")?;
        }
    }
    writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>")
}

/// What each measurement was, below its lowest point.
fn labels(out: &mut String, scale: &Scale, outcomes: &[Outcome]) -> fmt::Result {
    for outcome in outcomes {
        if let Some((_, micros)) = points(outcome).first() {
            let (x, y) = (scale.x(outcome.per_second()), scale.y(*micros) + 18.0);
            let what = outcome.rate.unwrap_or(outcome.connections);
            writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" font-size=\"11\" \
                 fill=\"#555\">{what}</text>"
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_few_round_marks() {
        for (most, expected) in [(1.0, 1.0), (8.0, 1.0), (9.0, 2.0), (30_000.0, 5_000.0)] {
            assert_eq!(step(most), expected, "{most}");
        }
        for most in [3.0, 77.0, 12_345.0, 999_999.0, 1e7] {
            assert!(most / step(most) <= 8.0, "{most}");
        }
    }

    #[test]
    fn a_shorter_latency_is_lower_and_more_throughput_further_right() {
        let scale = Scale { most: 100.0, low: 2, high: 5 };
        assert_eq!((scale.x(0.0), scale.x(100.0)), (LEFT, RIGHT));
        assert_eq!((scale.y(100.0), scale.y(100_000.0)), (BOTTOM, TOP));
        assert!(scale.y(1000.0) > scale.y(2000.0));
    }
}
