//! RabbitMQ's own load tool on a quorum queue.

use std::time::Duration;

use anyhow::Context as _;

use crate::{
    ground::Ground,
    process::{Process, run},
};

/// Published messages whose confirmation may be waited for at once, on both sides.
pub const UNCONFIRMED: usize = 50;

/// Neither side is at its speed from the first moment: one is compiled while it runs, the other opens its connections.
pub const WARM_UP: Duration = Duration::from_secs(2);

/// Messages a second, published, confirmed, delivered and acknowledged.
pub async fn messages(ground: &Ground, duration: Duration) -> anyhow::Result<f64> {
    let mut command = Process::command("java");
    command.args(["-cp", &ground.peers.perf_test, "com.rabbitmq.perf.PerfTest"]);
    command.args(["--uri", &ground.rabbit.vhost(), "--queue", "bench", "--quorum-queue"]);
    command.args(["--producers", "1", "--consumers", "1", "--confirm", &UNCONFIRMED.to_string(), "--size", "12"]);
    command.args([
        "--flag",
        "persistent",
        "--qos",
        "200",
        "--time",
        &(WARM_UP + duration).as_secs().max(4).to_string(),
    ]);
    let said = run("perf-test", command).await?;
    received(&said).with_context(|| format!("perf-test told no rate: {said}"))
}

/// The mean of the seconds after the warm-up, from lines such as `id: test, time 3.000 s, sent: 14700 msg/s, received: 14600 msg/s, …`.
fn received(said: &str) -> Option<f64> {
    let seconds = said.lines().filter_map(|line| {
        let time = after(line, "time ")?;
        // What is left of a second at the end is not a second.
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
    fn the_rate_is_the_mean_of_the_seconds_after_the_warm_up() {
        let said = "id: x, time 1.000 s, sent: 9 msg/s, received: 8 msg/s, min\nid: x, time 2.001 s, sent: 900 msg/s, received: 800 msg/s, min\n\
                    id: x, time 3.002 s, sent: 14700 msg/s, received: 14600 msg/s, min\nid: x, time 4.000 s, sent: 14800 msg/s, received: 14400 msg/s\n\
                    id: x, sending rate avg: 1 msg/s\nid: x, receiving rate avg: 1 msg/s\n";
        assert_eq!(received(said), Some(14500.0));
        assert_eq!(received("Connection refused"), None);
    }
}
