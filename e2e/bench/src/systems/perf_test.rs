//! RabbitMQ's load tool, perf-test, on a quorum queue.

use std::time::Duration;

use anyhow::Context as _;

use crate::{
    fixture::Fixture,
    process::{Process, run},
};

/// Messages that may wait for their publisher confirm at the same time, for both systems.
pub const UNCONFIRMED: usize = 50;

/// Warm-up of both systems: perf-test is compiled just in time, Switchyard opens its connections.
pub const WARM_UP: Duration = Duration::from_secs(2);

/// Measures messages per second that are published, confirmed, delivered and acknowledged.
pub async fn messages(fixture: &Fixture, duration: Duration) -> anyhow::Result<f64> {
    let mut command = Process::command("java");
    command.args(["-cp", &fixture.peers.perf_test, "com.rabbitmq.perf.PerfTest"]);
    command.args(["--uri", &fixture.rabbit.vhost(), "--queue", "bench", "--quorum-queue"]);
    command.args(["--producers", "1", "--consumers", "1", "--confirm", &UNCONFIRMED.to_string(), "--size", "12"]);
    command.args([
        "--flag",
        "persistent",
        "--qos",
        "200",
        "--time",
        &(WARM_UP + duration).as_secs().max(4).to_string(),
    ]);
    let output = run("perf-test", command).await?;
    received(&output).with_context(|| format!("no rate in the output of perf-test: {output}"))
}

/// The mean rate of the seconds after the warm-up, from lines such as `id: test, time 3.000 s,
/// sent: 14700 msg/s, received: 14600 msg/s, …`.
fn received(output: &str) -> Option<f64> {
    let seconds = output.lines().filter_map(|line| {
        let time = after(line, "time ")?;
        // The last line covers a fraction of a second.
        (time > WARM_UP.as_secs_f64() + 0.5 && time.fract() < 0.5).then(|| after(line, "received: ")).flatten()
    });
    let rates: Vec<f64> = seconds.collect();
    (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
}

/// The number that follows `words` in a line.
fn after(line: &str, words: &str) -> Option<f64> {
    let (_, rest) = line.split_once(words)?;
    rest.split([' ', ',']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_the_mean_of_the_seconds_after_the_warm_up() {
        let output = "id: x, time 1.000 s, sent: 9 msg/s, received: 8 msg/s, min\nid: x, time 2.001 s, sent: 900 msg/s, received: 800 msg/s, min\n\
                    id: x, time 3.002 s, sent: 14700 msg/s, received: 14600 msg/s, min\nid: x, time 4.000 s, sent: 14800 msg/s, received: 14400 msg/s\n\
                    id: x, sending rate avg: 1 msg/s\nid: x, receiving rate avg: 1 msg/s\n";
        assert_eq!(received(output), Some(14500.0));
        assert_eq!(received("Connection refused"), None);
    }
}
