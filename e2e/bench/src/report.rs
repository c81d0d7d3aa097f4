//! The report of a run: comparisons as ratios, then Switchyard's own figures.

use std::fmt::Write as _;

use crate::load::Tally;

/// Whether higher or lower figures are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// The same work done by Switchyard and by a peer, in alternating rounds.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub against: &'static str,
    pub work: String,
    pub unit: &'static str,
    /// Switchyard's figures, one per round.
    pub ours: Vec<f64>,
    /// The peer's figures, in the same order of rounds.
    pub theirs: Vec<f64>,
    pub better: Better,
    /// The lowest acceptable ratio of `ours` to `theirs` (the floor).
    pub at_least: f64,
    /// The ratio to aim for.
    pub aim: f64,
    /// Explains a ratio below 1.
    pub if_behind: &'static str,
}

/// A figure of Switchyard without a peer.
#[derive(Debug, Clone)]
pub struct Figure {
    pub what: String,
    pub value: String,
}

/// The results of a run.
#[derive(Debug, Default)]
pub struct Report {
    pub comparisons: Vec<Comparison>,
    pub figures: Vec<Figure>,
    /// Failed requests and failed scenarios, one line each.
    pub remarks: Vec<String>,
}

/// The median; NaN for no figures.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

impl Comparison {
    /// `ours` divided by `theirs`, per round.
    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect()
    }

    /// The median of the rounds' ratios.
    pub fn ratio(&self) -> f64 {
        median(&self.ratios())
    }

    fn reaches(&self, bar: f64) -> bool {
        match self.better {
            Better::More => self.ratio() >= bar,
            Better::Less => self.ratio() <= bar,
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.reaches(self.aim), self.reaches(self.at_least)) {
            (true, _) => "aim",
            (false, true) => "floor",
            (false, false) => "**below the floor**",
        }
    }
}

impl Report {
    /// Adds a remark, cut to its first line.
    pub fn remark(&mut self, remark: impl AsRef<str>) {
        self.remarks.push(remark.as_ref().lines().next().unwrap_or_default().to_owned());
    }

    /// Adds a figure of Switchyard.
    pub fn figure(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.figures.push(Figure { what: what.into(), value: value.into() });
    }

    /// Adds a remark when requests of `system` failed.
    pub fn record_errors(&mut self, system: &str, what: &str, tally: &Tally) {
        if let Some(errors) = tally.errors() {
            self.remark(format!("{system}, {what}: {errors}"));
        }
    }

    /// The report's tables and lists, as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("writing to a string cannot fail");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Comparisons\n")?;
        writeln!(out, "| against | work | ratio (rounds) | Switchyard | peer | floor | aim | reached |")?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for c in &self.comparisons {
            let rounds = c.ratios().iter().map(|ratio| times(*ratio)).collect::<Vec<_>>().join(", ");
            let (ours, theirs) = (figure(median(&c.ours)), figure(median(&c.theirs)));
            writeln!(
                out,
                "| {} | {} | **{}** ({rounds}) | {ours} {unit} | {theirs} {unit} | {} | {} | {} |",
                c.against,
                c.work,
                times(c.ratio()),
                times(c.at_least),
                times(c.aim),
                c.verdict(),
                unit = c.unit,
            )?;
        }
        writeln!(out, "\n## Switchyard alone\n\n| what | figure |\n|---|---|")?;
        for Figure { what, value } in &self.figures {
            writeln!(out, "| {what} | {value} |")?;
        }
        writeln!(out, "\n## Where Switchyard is behind\n")?;
        let behind: Vec<_> = self.comparisons.iter().filter(|c| !c.reaches(1.0) || !c.reaches(c.at_least)).collect();
        for c in &behind {
            writeln!(out, "- {}, {}: {} of the peer's figure. {}", c.against, c.work, times(c.ratio()), c.if_behind)?;
        }
        if behind.is_empty() {
            writeln!(out, "Nowhere in this run.")?;
        }
        if !self.remarks.is_empty() {
            writeln!(out, "\n## Remarks on this run\n")?;
            for remark in &self.remarks {
                writeln!(out, "- {remark}")?;
            }
        }
        Ok(())
    }
}

/// Formats a ratio; small ones as a fraction.
fn times(ratio: f64) -> String {
    match ratio {
        r if r >= 10.0 => format!("{r:.0} x"),
        r if r >= 0.2 => format!("{r:.2} x"),
        r if r > 0.0 => format!("1/{:.0}", 1.0 / r),
        _ => "—".to_owned(),
    }
}

/// Formats a figure with at least three significant digits.
pub fn figure(value: f64) -> String {
    match value {
        v if !v.is_finite() => "—".to_owned(),
        v if v >= 1000.0 => {
            let digits = format!("{v:.0}");
            let mut out = String::new();
            for (n, digit) in digits.chars().enumerate() {
                if n > 0 && (digits.len() - n) % 3 == 0 {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(ours: &[f64], theirs: &[f64], better: Better, at_least: f64, aim: f64) -> Comparison {
        Comparison {
            against: "peer",
            work: "work".to_owned(),
            unit: "/s",
            ours: ours.to_vec(),
            theirs: theirs.to_vec(),
            better,
            at_least,
            aim,
            if_behind: "The peer does less.",
        }
    }

    #[test]
    fn ratio_is_the_median_of_the_rounds() {
        let c = comparison(&[80.0, 10.0, 90.0], &[10.0, 10.0, 10.0], Better::More, 8.0, 20.0);
        assert_eq!((c.ratio(), c.verdict()), (8.0, "floor"));
        let slower = comparison(&[1.0], &[8.0], Better::Less, 0.125, 0.05);
        assert_eq!((slower.ratio(), slower.verdict()), (0.125, "floor"));
        assert_eq!(comparison(&[2.0], &[8.0], Better::Less, 0.125, 0.05).verdict(), "**below the floor**");
        assert_eq!(comparison(&[0.1], &[8.0], Better::Less, 0.125, 0.05).verdict(), "aim");
    }

    #[test]
    fn peer_that_is_ahead_is_listed_even_above_the_floor() {
        let report = Report {
            comparisons: vec![
                comparison(&[60.0], &[100.0], Better::More, 0.5, 1.0),
                comparison(&[500.0], &[100.0], Better::More, 3.0, 8.0),
            ],
            ..Report::default()
        };
        let text = report.markdown();
        let behind = text.split_once("## Where Switchyard is behind").unwrap().1;
        assert_eq!(behind.matches("- peer, work").count(), 1, "{behind}");
        assert!(behind.contains("0.60 x of the peer's figure. The peer does less."), "{behind}");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "exact results")]
    fn figures_are_formatted_for_readers() {
        assert_eq!(figure(1_234_567.0), "1,234,567");
        assert_eq!(figure(12.34), "12.3");
        assert_eq!((times(0.125), times(0.5), times(25.3)), ("1/8".to_owned(), "0.50 x".to_owned(), "25 x".to_owned()));
        assert_eq!(median(&[3.0, 1.0, 2.0, 4.0]), 2.5);
    }
}
