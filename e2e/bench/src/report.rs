//! What came out, as people read it: ratios first.

use std::fmt::Write as _;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// The same work done by us and by somebody else, in turns.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub against: &'static str,
    pub work: String,
    pub unit: &'static str,
    /// One figure a round, and its counterpart at the same place in `theirs`.
    pub ours: Vec<f64>,
    pub theirs: Vec<f64>,
    pub better: Better,
    /// Ratios of our figure to theirs.
    pub at_least: f64,
    pub aim: f64,
    /// What stands in the way where we are behind.
    pub if_behind: &'static str,
}

/// Something measured on our side alone.
#[derive(Debug, Clone)]
pub struct Figure {
    pub what: String,
    pub value: String,
}

/// All that a run came to.
#[derive(Debug, Default)]
pub struct Report {
    pub comparisons: Vec<Comparison>,
    pub figures: Vec<Figure>,
    /// Answers that were not as they should be, and what could not be measured.
    pub remarks: Vec<String>,
}

/// The middle of some figures; of an even number the mean of the two in the middle.
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
    /// Our figure over theirs, round by round.
    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect()
    }

    /// The middle one of the rounds' ratios.
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
    /// Notes a remark.
    pub fn remark(&mut self, remark: impl AsRef<str>) {
        // One line each; what a program said last goes to whoever watches.
        self.remarks.push(remark.as_ref().lines().next().unwrap_or_default().to_owned());
    }

    /// Notes a figure of our own.
    pub fn figure(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.figures.push(Figure { what: what.into(), value: value.into() });
    }

    /// The tables and lines, as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("memory takes what is written");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Side by side\n")?;
        writeln!(out, "| against | work | ratio (rounds) | ours | theirs | at least | aim | reached |")?;
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
        writeln!(out, "\n## Alone\n\n| what | figure |\n|---|---|")?;
        for Figure { what, value } in &self.figures {
            writeln!(out, "| {what} | {value} |")?;
        }
        writeln!(out, "\n## Where we are not ahead\n")?;
        let behind: Vec<_> = self.comparisons.iter().filter(|c| !c.reaches(1.0) || !c.reaches(c.at_least)).collect();
        for c in &behind {
            writeln!(out, "- {}, {}: {} of theirs. {}", c.against, c.work, times(c.ratio()), c.if_behind)?;
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

/// A ratio for people: small ones as a fraction.
fn times(ratio: f64) -> String {
    match ratio {
        r if r >= 10.0 => format!("{r:.0} x"),
        r if r >= 0.2 => format!("{r:.2} x"),
        r if r > 0.0 => format!("1/{:.0}", 1.0 / r),
        _ => "—".to_owned(),
    }
}

/// A figure for people: three digits at least, no more than it is worth.
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
            against: "them",
            work: "work".to_owned(),
            unit: "/s",
            ours: ours.to_vec(),
            theirs: theirs.to_vec(),
            better,
            at_least,
            aim,
            if_behind: "They do less.",
        }
    }

    #[test]
    fn a_ratio_is_the_middle_one_of_the_rounds() {
        let c = comparison(&[80.0, 10.0, 90.0], &[10.0, 10.0, 10.0], Better::More, 8.0, 20.0);
        assert_eq!((c.ratio(), c.verdict()), (8.0, "floor"));
        let slower = comparison(&[1.0], &[8.0], Better::Less, 0.125, 0.05);
        assert_eq!((slower.ratio(), slower.verdict()), (0.125, "floor"));
        assert_eq!(comparison(&[2.0], &[8.0], Better::Less, 0.125, 0.05).verdict(), "**below the floor**");
        assert_eq!(comparison(&[0.1], &[8.0], Better::Less, 0.125, 0.05).verdict(), "aim");
    }

    #[test]
    fn whoever_is_ahead_of_us_is_named_even_when_the_floor_is_reached() {
        let report = Report {
            comparisons: vec![
                comparison(&[60.0], &[100.0], Better::More, 0.5, 1.0),
                comparison(&[500.0], &[100.0], Better::More, 3.0, 8.0),
            ],
            ..Report::default()
        };
        let text = report.markdown();
        let behind = text.split_once("## Where we are not ahead").unwrap().1;
        assert_eq!(behind.matches("- them, work").count(), 1, "{behind}");
        assert!(behind.contains("0.60 x of theirs. They do less."), "{behind}");
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(figure(1_234_567.0), "1,234,567");
        assert_eq!(figure(12.34), "12.3");
        assert_eq!((times(0.125), times(0.5), times(25.3)), ("1/8".to_owned(), "0.50 x".to_owned(), "25 x".to_owned()));
        assert_eq!(median(&[3.0, 1.0, 2.0, 4.0]), 2.5);
    }
}
