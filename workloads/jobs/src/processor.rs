//! What the process is and how much processor time it has used, as `/metrics` shows it.

use std::{
    fmt, fs, io,
    sync::atomic::AtomicU64,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::cgroup;

/// Ticks of a second in which Linux tells processor time to programs, on whatever hardware (USER_HZ, proc(5)).
const TICKS: f64 = 100.0;

/// Shows in `registry` which program this is, when it began (which is now), the processor time that it has used whenever that is asked for, and how much of
/// it at once it may use.
pub fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Processor));
    let gauge = |value: f64| {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        gauge
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let help = "When the process began, in seconds since 1970";
    registry.register_with_unit("process_start_time", help, Unit::Seconds, gauge(now.as_secs_f64()));
    if let Some(cores) = cgroup::cores() {
        let help = "Processor cores that the container may use at once";
        registry.register("switchyard_process_cpu_limit_cores", help, gauge(cores));
    }
    let build = Family::<[(&str, &str); 1], Gauge>::default();
    build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
    registry.register("switchyard_build_info", "The program's version", build);
}

#[derive(Debug)]
struct Processor;

impl Collector for Processor {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Without /proc there is nothing to show, which is no reason to show nothing else.
        let Ok(seconds) = seconds() else { return Ok(()) };
        let help = "Processor time that the process has used";
        let shown = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
        ConstCounter::new(seconds).encode(shown)
    }
}

/// Seconds of processor time that all threads have used, in the program and in the kernel.
fn seconds() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    used(&stat).ok_or_else(|| io::Error::other("/proc/self/stat is not as proc(5) has it"))
}

/// The fields come after the program's name, which may hold anything, parentheses too.
fn used(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some((f64::from(ticks()?) + f64::from(ticks()?)) / TICKS)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn fields_are_found_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 9 1 1 1";
        assert_eq!(used(stat), Some(2.0));
        assert_eq!(used("7 (a) S 1"), None);
        assert_eq!(used(""), None);
    }

    #[test]
    fn work_is_counted_and_shown() {
        let before = seconds().unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(300) {
            std::hint::black_box(began);
        }
        assert!(seconds().unwrap() > before);
        let mut registry = Registry::default();
        register(&mut registry);
        let mut shown = String::new();
        prometheus_client::encoding::text::encode(&mut shown, &registry).unwrap();
        assert!(shown.contains("\nprocess_cpu_seconds_total "), "{shown}");
    }
}
