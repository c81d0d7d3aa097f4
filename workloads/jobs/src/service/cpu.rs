//! CPU time, CPU limit, start time and build of the process, for `/metrics`.

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

/// Linux reports CPU time in 1/100 s on every architecture (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the metrics of this process.
///
/// `cores` is the CPU limit of the container, if it has one. The start time is the time of this
/// call. CPU time is read at each scrape.
pub fn register(registry: &mut Registry, cores: Option<f64>) {
    registry.register_collector(Box::new(CpuTime));
    let gauge = |value: f64| {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        gauge
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let help = "Start time of the process, in seconds since the Unix epoch";
    registry.register_with_unit("process_start_time", help, Unit::Seconds, gauge(now.as_secs_f64()));
    if let Some(cores) = cores {
        let help = "CPU cores that the container may use";
        registry.register("switchyard_process_cpu_limit_cores", help, gauge(cores));
    }
    let build = Family::<[(&str, &str); 1], Gauge>::default();
    build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
    registry.register("switchyard_build_info", "The program's version", build);
}

#[derive(Debug)]
struct CpuTime;

impl Collector for CpuTime {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Without /proc this metric is left out; the others stay.
        let Ok(seconds) = cpu_seconds() else { return Ok(()) };
        let help = "CPU time that the process has used";
        let shown = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
        ConstCounter::new(seconds).encode(shown)
    }
}

/// Seconds of CPU time that all threads have used, in user and kernel mode.
fn cpu_seconds() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    parse_cpu_seconds(&stat).ok_or_else(|| io::Error::other("/proc/self/stat is malformed"))
}

/// Reads `utime` and `stime`. They follow the program's name, which may itself contain parentheses.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some((f64::from(ticks()?) + f64::from(ticks()?)) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_for_any_program_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 9 1 1 1";
        assert_eq!(parse_cpu_seconds(stat), Some(2.0));
        assert_eq!(parse_cpu_seconds("7 (a) S 1"), None);
        assert_eq!(parse_cpu_seconds(""), None);
    }

    #[test]
    fn exported_cpu_time_is_that_of_the_process() {
        let mut registry = Registry::default();
        register(&mut registry, None);
        let exported = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total "));
            line.unwrap_or_else(|| panic!("no CPU time in {text}")).parse::<f64>().unwrap()
        };
        let thread = || parse_cpu_seconds(&fs::read_to_string("/proc/thread-self/stat").unwrap()).unwrap();
        let (process_before, thread_before) = (exported(), thread());
        while thread() < thread_before + 0.3 {}
        // Other tests run in other threads of this process.
        let used = exported() - process_before;
        assert!(used >= 0.25, "a thread used 0.3 s, and the process {used} s");
        let (before, shown, after) = (cpu_seconds().unwrap(), exported(), cpu_seconds().unwrap());
        assert!((before..=after).contains(&shown), "{shown} is not between {before} and {after}");
    }
}
