//! Metrics of the process itself, read from `/proc` when somebody scrapes, under the names that every Prometheus client uses.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::metrics::{Declaration, MetricKind, Metrics};

/// Declares `process_*` and `runpool_build_info`. `commit` is that of the build, if it was known.
pub fn declare(metrics: &mut Metrics, version: &str, commit: Option<&str>) {
    let build = metrics.gauge("runpool_build_info", "Always 1; the labels say which build is running");
    let labels = vec![("version", version.to_owned()), ("commit", commit.unwrap_or("unknown").to_owned())];
    build.get_or_create(&labels).set(1);
    let collector = ProcessCollector { started: process_start().unwrap_or_else(SystemTime::now) };
    metrics.collector(Reading::ALL.into_iter().map(Reading::declaration).collect(), Box::new(collector));
}

/// What is read of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Cpu,
    Resident,
    Virtual,
    OpenFds,
    MaxFds,
    Started,
    Threads,
}

impl Reading {
    const ALL: [Self; 7] = [Self::Cpu, Self::Resident, Self::Virtual, Self::OpenFds, Self::MaxFds, Self::Started, Self::Threads];

    /// The name without the suffix of counters, and the help text.
    const fn name_and_help(self) -> (&'static str, &'static str) {
        match self {
            Self::Cpu => ("process_cpu_seconds", "Processor time spent, in user and kernel mode"),
            Self::Resident => ("process_resident_memory_bytes", "Memory in use that is in physical memory"),
            Self::Virtual => ("process_virtual_memory_bytes", "Address space in use"),
            Self::OpenFds => ("process_open_fds", "File descriptors in use"),
            Self::MaxFds => ("process_max_fds", "File descriptors that may be in use"),
            Self::Started => ("process_start_time_seconds", "When the process started, in seconds since 1970"),
            Self::Threads => ("process_threads", "Threads of the operating system in use"),
        }
    }

    fn declaration(self) -> Declaration {
        let (name, help) = self.name_and_help();
        let (kind, suffix) = if self == Self::Cpu { (MetricKind::Counter, "_total") } else { (MetricKind::Gauge, "") };
        Declaration { name: format!("{name}{suffix}"), kind, help: help.to_owned() }
    }
}

#[derive(Debug)]
struct ProcessCollector {
    started: SystemTime,
}

impl ProcessCollector {
    /// The value now; `None` if the system does not tell.
    fn read(&self, reading: Reading, status: &str) -> Option<f64> {
        match reading {
            Reading::Cpu => {
                let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
                Some(seconds(usage.user_time()) + seconds(usage.system_time()))
            }
            Reading::Resident => status_field(status, "VmRSS").map(|kib| kib * 1_024.0),
            Reading::Virtual => status_field(status, "VmSize").map(|kib| kib * 1_024.0),
            // The listing itself holds one descriptor open.
            Reading::OpenFds => Some(count(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))),
            Reading::MaxFds => Some(limit(getrlimit(Resource::RLIMIT_NOFILE).ok()?.0)),
            Reading::Started => Some(self.started.duration_since(UNIX_EPOCH).ok()?.as_secs_f64()),
            Reading::Threads => status_field(status, "Threads"),
        }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for reading in Reading::ALL {
            let Some(value) = self.read(reading, &status) else { continue };
            let (name, help) = reading.name_and_help();
            if reading == Reading::Cpu {
                let metric = ConstCounter::new(value);
                metric.encode(encoder.encode_descriptor(name, help_sentence(help).as_str(), None, metric.metric_type())?)?;
            } else {
                let metric = ConstGauge::new(value);
                metric.encode(encoder.encode_descriptor(name, help_sentence(help).as_str(), None, metric.metric_type())?)?;
            }
        }
        Ok(())
    }
}

/// A registered metric gets its full stop from the registry; a collected one does not.
fn help_sentence(help: &str) -> String {
    format!("{help}.")
}

/// The number of a field of `/proc/self/status` (proc_pid_status(5)); sizes are in KiB.
fn status_field(status: &str, name: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

/// When the process started: the boot time of `/proc/stat` and field 22 of `/proc/self/stat`, in ticks since then
/// (proc_pid_stat(5)).
fn process_start() -> Option<SystemTime> {
    /// What the kernel tells programs a tick is, on every architecture that Rust runs Linux on (`USER_HZ`).
    const TICKS_A_SECOND: u64 = 100;
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot_seconds: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let own = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold spaces and parentheses.
    let (_, after_name) = own.rsplit_once(')')?;
    let ticks: u64 = after_name.split_whitespace().nth(19)?.parse().ok()?;
    let since_boot = std::time::Duration::from_millis(ticks.checked_mul(1_000 / TICKS_A_SECOND)?);
    UNIX_EPOCH.checked_add(std::time::Duration::from_secs(boot_seconds))?.checked_add(since_boot)
}

#[expect(clippy::cast_precision_loss, reason = "times and counts of a process are far below 2^52")]
fn seconds(time: nix::sys::time::TimeVal) -> f64 {
    time.num_microseconds() as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "times and counts of a process are far below 2^52")]
const fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "no limit is a very large number, whichever")]
const fn limit(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::exposition::Format;
    use crate::telemetry::metrics::MetricsConfig;
    use std::time::Duration;

    #[test]
    fn every_declared_metric_of_the_process_is_exposed_with_a_plausible_value() {
        let mut metrics = Metrics::new(&MetricsConfig::default());
        declare(&mut metrics, "1.2.3", Some("abc"));
        let text = String::from_utf8(Format::Text.write(&metrics).unwrap().body).unwrap();
        assert!(text.contains("runpool_build_info{version=\"1.2.3\",commit=\"abc\"} 1\n"), "{text}");
        for declaration in metrics.declarations() {
            assert!(
                text.contains(&format!("# TYPE {} {}\n", declaration.name, declaration.kind.as_str())),
                "{declaration:?} in {text}"
            );
        }
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_max_fds") > value("process_open_fds"));
        assert!(value("process_open_fds") >= 3.0);
    }

    #[test]
    fn the_process_started_in_the_past_and_after_this_machine() {
        let started = process_start().unwrap();
        // A tick is 10 ms, and the boot time is in whole seconds.
        assert!(started < SystemTime::now() + Duration::from_secs(1));
        assert!(started > UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    }

    #[test]
    fn a_field_is_read_by_its_whole_name() {
        let status = "Name:\trunpool\nVmRSSx:\t1 kB\nVmRSS:\t  5120 kB\nThreads:\t7\n";
        assert_eq!(status_field(status, "VmRSS"), Some(5_120.0));
        assert_eq!(status_field(status, "Threads"), Some(7.0));
        assert_eq!(status_field(status, "VmSize"), None);
    }
}
