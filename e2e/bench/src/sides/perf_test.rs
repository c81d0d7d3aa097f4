//! RabbitMQ's own load tool on a quorum queue.

use std::time::Duration;

use anyhow::Context as _;

use crate::{
    ground::Ground,
    process::{Process, run},
};

/// Published messages whose confirmation may be waited for at once, on both sides.
pub const UNCONFIRMED: usize = 50;

/// Messages a second, published, confirmed, delivered and acknowledged.
pub async fn messages(ground: &Ground, duration: Duration) -> anyhow::Result<f64> {
    let mut command = Process::command("java");
    command.args(["-cp", &ground.peers.perf_test, "com.rabbitmq.perf.PerfTest"]);
    command.args(["--uri", &ground.rabbit.vhost(), "--queue", "bench", "--quorum-queue"]);
    command.args(["--producers", "1", "--consumers", "1", "--confirm", &UNCONFIRMED.to_string(), "--size", "12"]);
    command.args(["--flag", "persistent", "--qos", "200", "--time", &duration.as_secs().max(1).to_string()]);
    let said = run("perf-test", command).await?;
    received(&said).with_context(|| format!("perf-test told no rate: {said}"))
}

/// The average in the last lines, `…, receiving rate avg: 14600 msg/s`.
fn received(said: &str) -> Option<f64> {
    let (_, rest) = said.rsplit_once("receiving rate avg: ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_average_of_the_whole_run() {
        let said = "id: x, time 1.000 s, sent: 9 msg/s, received: 8 msg/s\nid: x, sending rate avg: 14700 msg/s\nid: x, receiving rate avg: 14600 msg/s\n";
        assert_eq!(received(said), Some(14600.0));
        assert_eq!(received("Connection refused"), None);
    }
}
