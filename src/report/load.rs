//! What `linerate load` says: what it sends, a line an interval, and where every frame stayed.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::compare::table;
use super::csv::CsvFile;
use super::hdr_log::HdrLog;
use super::json::{self, JsonFile};
use super::pcap::PcapFile;
use super::text::{Text, grouped};
use crate::bench::floor::HarnessFloor;
use crate::bench::loading::{Audience, Finding, LoadRequest, Reach};
use crate::bench::testbed::End;
use crate::error::Result;
use crate::load::plan::LoadConfig;
use crate::load::report::Tally;
use crate::load::run::{Drive, LATE_DEPARTURE, LoadOutcome, Progress};
use crate::stats::latency::{LADDER, Latency};
use crate::stats::waterfall::Waterfall;
use crate::sys::host::Host;
use crate::sys::link::Link;
use crate::units::{nanoseconds, rate};

/// Files that a load writes, all opened before it runs.
#[derive(Debug, Default)]
pub struct LoadReportFiles<'a> {
    /// The JSON document.
    pub json: Option<&'a Path>,
    /// A row an interval.
    pub csv: Option<&'a Path>,
    /// The histogram log.
    pub hdr_log: Option<&'a Path>,
    /// Bad frames.
    pub pcap: Option<&'a Path>,
}

/// The voice of `linerate load`.
#[derive(Debug)]
pub struct LoadVoice {
    text: Text,
    json: JsonFile,
    csv: Option<CsvFile>,
    hdr_log: Option<HdrLog>,
    pcap: Option<PcapFile>,
    host: Host,
    floor: Option<HarnessFloor>,
    link: Option<Link>,
    bar: ProgressBar,
    last: Seen,
    /// What went wrong with a file during the run; said at the end.
    trouble: Option<crate::error::Error>,
}

/// What the last live line had seen.
#[derive(Debug, Default)]
struct Seen {
    elapsed: Duration,
    sent: u64,
    returned: u64,
}

const CSV_HEADER: [&str; 9] = [
    "elapsed_s",
    "sent",
    "returned",
    "unanswered",
    "wrong",
    "response_p50_ns",
    "response_p99_ns",
    "response_max_ns",
    "service_p99_ns",
];

impl LoadVoice {
    /// Opens the outputs.
    pub fn open(files: &LoadReportFiles<'_>) -> Result<LoadVoice> {
        let json = JsonFile::open(files.json)?;
        Ok(LoadVoice {
            text: Text::new(json.takes_stdout()),
            json,
            csv: files.csv.map(|path| CsvFile::create(path, &CSV_HEADER)).transpose()?,
            hdr_log: files.hdr_log.map(HdrLog::create).transpose()?,
            pcap: files.pcap.map(PcapFile::create).transpose()?,
            host: Host::detect(),
            floor: None,
            link: None,
            bar: ProgressBar::hidden(),
            last: Seen::default(),
            trouble: None,
        })
    }

    fn record(&mut self, progress: &Progress) -> Result<()> {
        let interval = &progress.interval;
        let began = self.last.elapsed;
        let lasted = progress.elapsed.saturating_sub(began);
        if let Some(log) = &mut self.hdr_log {
            log.write_interval(Some("response"), began, lasted, &interval.response)?;
            log.write_interval(Some("service"), began, lasted, &interval.service)?;
        }
        if let Some(csv) = &mut self.csv {
            let response = interval.response.summary();
            csv.write_row(&[
                &format!("{:.3}", progress.elapsed.as_secs_f64()),
                &progress.sent,
                &progress.returned,
                &progress.unanswered(),
                &wrong(&progress.tally),
                &response.p50,
                &response.p99,
                &response.max,
                &interval.service.summary().p99,
            ])?;
        }
        Ok(())
    }

    /// The end of the run.
    pub fn finish(&mut self, request: &LoadRequest, finding: &Finding) -> Result<()> {
        self.bar.finish_and_clear();
        let outcome = &finding.outcome;
        for note in &outcome.notes {
            self.text.say(format!("  {note}"));
        }
        self.say_rate(outcome);
        self.say_frames(outcome);
        if outcome.latencies.service.count() > 0 {
            self.text.say(latency_table(outcome, request.breakdown));
            self.say_jitter(outcome);
        }
        self.say_waterfall(&finding.waterfall);
        for bad in &outcome.evidence {
            if let Some(pcap) = &mut self.pcap {
                pcap.write(bad.stamp_ns, bad.wire_bytes, &bad.bytes)?;
            }
        }
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let document = self.document(request, finding);
        self.json.write(&document)
    }

    fn say_rate(&mut self, outcome: &LoadOutcome) {
        let (l2, l1) = outcome.achieved_bits_per_second();
        let asked = match (outcome.asked, outcome.rate_error()) {
            (Some(asked), Some(error)) => {
                format!("asked {}, error {:+.3} %, ", rate(asked.as_f64()), 100.0 * error)
            }
            _ => String::new(),
        };
        self.text.say(format!(
            "\nachieved {} ({asked}{} L2, {} L1) over {:.2} s by {} + {}",
            rate(outcome.achieved_pps()),
            bits(l2),
            bits(l1),
            outcome.span_ns as f64 / 1e9,
            outcome.halves.0,
            outcome.halves.1,
        ));
        if let Some(limit) = outcome.generator_limit() {
            self.text.say(format!(
                "GENERATOR-LIMITED: the asked rate was not reached, {limit}. This is no limit of \
                 the device"
            ));
        }
        let departures = &outcome.departures;
        if departures.lateness.count() > 0 {
            self.text.say(format!(
                "departures: {} of {} more than {} late (worst {}); gap error p99 {}",
                grouped(departures.late),
                grouped(departures.lateness.count()),
                nanoseconds(LATE_DEPARTURE.as_nanos() as u64),
                nanoseconds(departures.lateness.max()),
                nanoseconds(departures.gap_errors.percentile(99.0)),
            ));
        }
    }

    fn say_frames(&mut self, outcome: &LoadOutcome) {
        let tally = &outcome.tally;
        self.text.say(format!(
            "offered {} = sent {} + late {} + refused {}",
            grouped(outcome.offered),
            grouped(outcome.sent),
            grouped(outcome.unsent_late),
            grouped(outcome.unsent_refused),
        ));
        self.text.say(format!(
            "sent {} = intact {} + corrupted {} + not transformed {} + truncated {} + lost {} \
             ({:.4} %)",
            grouped(outcome.sent),
            grouped(tally.intact),
            grouped(tally.corrupted),
            grouped(tally.not_transformed),
            grouped(tally.truncated),
            grouped(outcome.lost),
            100.0 * outcome.loss_ratio(),
        ));
        let beside = [
            (tally.duplicated, "duplicated".to_string()),
            (tally.reordered, format!("reordered (extent {})", outcome.reorder_extent_max)),
            (tally.late, "late".into()),
            (tally.foreign, "foreign".into()),
            (tally.malformed, "malformed".into()),
            (tally.forgotten, "forgotten".into()),
        ];
        let named: Vec<String> = beside
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", grouped(*count)))
            .collect();
        if !named.is_empty() {
            self.text.say(format!("beside these: {}", named.join(", ")));
        }
        for damage in outcome.damage.iter().take(DAMAGE_SHOWN) {
            self.text.say(format!(
                "  frame {}: first wrong byte at offset {}, {} bytes came back",
                damage.sequence, damage.first_offset, damage.received_bytes
            ));
        }
    }

    fn say_jitter(&mut self, outcome: &LoadOutcome) {
        let response = outcome.latencies.response.summary();
        self.text.say(format!(
            "jitter: RFC 3550 {}, mean difference {}; delay variation (RFC 5481) p99 {}",
            nanoseconds(outcome.jitter.smoothed_ns() as u64),
            nanoseconds(outcome.jitter.mean_ns() as u64),
            nanoseconds(response.delay_variation(response.p99)),
        ));
        if outcome.clock_steps > 0 {
            self.text.say(format!(
                "WARNING: the clock was set {} times meanwhile: kernel stamps and jitter are off",
                outcome.clock_steps
            ));
        }
    }

    fn say_waterfall(&mut self, waterfall: &Waterfall) {
        self.text.say("where the frames went, the warm-up included:");
        self.text.say(format!("  {:>16}  offered", grouped(waterfall.offered())));
        let losses = waterfall.stages().iter().filter(|stage| stage.frames != 0);
        for stage in losses {
            let layer = json!(stage.layer);
            self.text.say(format!(
                "  {:>16}  {} ({})",
                signed(-stage.frames),
                stage.name.replace('_', " "),
                layer.as_str().unwrap_or_default().replace('_', " "),
            ));
        }
        self.text.say(format!("  {:>16}  returned intact", grouped(waterfall.returned_intact())));
        if waterfall.unexplained() != 0 {
            self.text.say(format!("  unexplained: {}", waterfall.unexplained()));
        }
    }

    /// A threshold was missed.
    pub fn threshold_missed(
        &mut self,
        max_loss: Option<f64>,
        max_p99: Option<Duration>,
        outcome: &LoadOutcome,
    ) {
        if let Some(most) = max_loss.filter(|&most| outcome.loss_ratio() > most) {
            let loss = 100.0 * outcome.loss_ratio();
            self.text.say(format!("MISSED: loss {loss:.4} %, at most {} % asked", 100.0 * most));
        }
        let p99 = outcome.latencies.response.percentile(99.0);
        if let Some(most) = max_p99.filter(|most| u128::from(p99) > most.as_nanos()) {
            self.text.say(format!(
                "MISSED: response p99 {}, at most {} asked",
                nanoseconds(p99),
                nanoseconds(most.as_nanos() as u64)
            ));
        }
    }

    fn document(&self, request: &LoadRequest, finding: &Finding) -> Value {
        let Finding { outcome, waterfall, counters, engine } = finding;
        let mut document = json!({
            "schema": "linerate.load/1",
            "version": env!("CARGO_PKG_VERSION"),
            "host": json::host(&self.host),
            "harness": self.floor,
            "link": self.link.as_ref().map(json::link),
            "frame_bytes": request.sizes.to_string(),
            "flows": request.flows,
            "seed": request.seed,
            "tx": outcome.halves.0.name(),
            "rx": outcome.halves.1.name(),
        });
        let engine = engine.as_ref().map(|summary| {
            json!({
                "received": summary.counters.received,
                "forwarded": summary.counters.forwarded,
                "drops": json::drops(&summary.counters.drops),
                "kernel_drops": summary.counters.kernel.drops,
            })
        });
        let driver: Map<String, Value> = counters
            .near
            .driver
            .nonzero()
            .map(|(name, count)| (name.to_string(), count.into()))
            .collect();
        let around = json!({
            "waterfall": waterfall,
            "driver_counters": driver,
            "engine": engine,
        });
        for part in
            [rates_json(outcome), frames_json(outcome), times_json(request, outcome), around]
        {
            if let (Value::Object(all), Value::Object(part)) = (&mut document, part) {
                all.extend(part);
            }
        }
        document
    }
}

fn rates_json(outcome: &LoadOutcome) -> Value {
    let (l2, l1) = outcome.achieved_bits_per_second();
    json!({
        "asked_pps": outcome.asked.map(|asked| asked.as_f64()),
        "achieved_pps": outcome.achieved_pps(),
        "rate_error": outcome.rate_error(),
        "achieved_l2_bits_per_second": l2,
        "achieved_l1_bits_per_second": l1,
        "forwarded_pps": outcome.forwarded_pps(),
        "generator_limited": outcome.generator_limit().map(|limit| limit.to_string()),
        "span_ns": outcome.span_ns,
        "drained_s": outcome.drained.as_secs_f64(),
        "stopped": outcome.stopped,
    })
}

fn frames_json(outcome: &LoadOutcome) -> Value {
    json!({
        "offered": outcome.offered,
        "unsent_late": outcome.unsent_late,
        "unsent_refused": outcome.unsent_refused,
        "sent": outcome.sent,
        "frames": tally_json(&outcome.tally, outcome.lost),
        "loss_ratio": outcome.loss_ratio(),
        "reorder_extent_max": outcome.reorder_extent_max,
        "warm_up": {
            "sent": outcome.warm_up.sent,
            "frames": tally_json(&outcome.warm_up.tally, outcome.warm_up.lost),
        },
    })
}

fn times_json(request: &LoadRequest, outcome: &LoadOutcome) -> Value {
    let latencies = &outcome.latencies;
    json!({
        "departures": {
            "late": outcome.departures.late,
            "late_after_ns": LATE_DEPARTURE.as_nanos() as u64,
            "lateness_ns": outcome.departures.lateness.summary(),
            "gap_ns": outcome.departures.gaps.summary(),
            "gap_error_ns": outcome.departures.gap_errors.summary(),
            "refusals": outcome.departures.refusals,
        },
        "response_ns": latencies.response.summary(),
        "service_ns": latencies.service.summary(),
        "until_kernel_stamp_ns": request.breakdown.then(|| latencies.until_kernel.summary()),
        "in_our_ring_ns": request.breakdown.then(|| latencies.in_ring.summary()),
        "untimed": outcome.untimed,
        "jitter": {
            "rfc3550_ns": outcome.jitter.smoothed_ns(),
            "mean_ns": outcome.jitter.mean_ns(),
            "max_ns": outcome.jitter.max_ns(),
        },
        "clock_read_ns": outcome.clock_read_ns,
        "clock_steps": outcome.clock_steps,
    })
}

const DAMAGE_SHOWN: usize = 5;

impl Audience for LoadVoice {
    fn start(
        &mut self,
        request: &LoadRequest,
        here: &End,
        config: &LoadConfig,
        floor: &HarnessFloor,
    ) {
        let what = match request.drive {
            Drive::Paced { rate, .. } => format!("rate {rate}"),
            Drive::Window(1) => "one frame at a time".into(),
            Drive::Window(frames) => format!("{frames} frames unanswered"),
        };
        let to = match &request.reach {
            Reach::Lab { path, .. } => format!("our own engine, path {path}"),
            Reach::Station { mac, .. } => mac.to_string(),
            Reach::Udp { target, .. } => format!("{target} ({})", config.destination),
        };
        self.text.say(format!(
            "linerate load from {} to {to}: sizes {} (with FCS), {what}",
            here.link.name, request.sizes
        ));
        if here.link.is_veth() {
            self.text.say("  a veth pair shows what kernel and path cost, and is not a NIC");
        }
        self.text.say(format!(
            "  clock {}: {:.0} ns a read; a 50 µs sleep ends {} late (p50)",
            floor.clock_source,
            floor.clock_read_ns,
            nanoseconds(floor.sleep_late_p50_ns),
        ));
        self.floor = Some(floor.clone());
        self.link = Some(here.link.clone());
        let total = request.limits.duration.map(|time| time + request.warm_up);
        if let Some(total) = total {
            let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar = ProgressBar::new(total.as_millis() as u64).with_style(style);
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let seconds =
            progress.elapsed.saturating_sub(self.last.elapsed).as_secs_f64().max(f64::MIN_POSITIVE);
        let response = progress.interval.response.summary();
        let line = format!(
            "{:>6.1} s  sent {:>11}  back {:>11}  unanswered {}  response p50 {} p99 {} max {}{}",
            progress.elapsed.as_secs_f64(),
            rate((progress.sent - self.last.sent) as f64 / seconds),
            rate((progress.returned - self.last.returned) as f64 / seconds),
            progress.unanswered(),
            nanoseconds(response.p50),
            nanoseconds(response.p99),
            nanoseconds(response.max),
            if progress.warming_up { "  (warm-up)" } else { "" },
        );
        if let Err(error) = self.record(progress) {
            self.trouble.get_or_insert(error);
        }
        self.bar.suspend(|| self.text.say(line));
        self.bar.set_position(progress.elapsed.as_millis() as u64);
        self.last =
            Seen { elapsed: progress.elapsed, sent: progress.sent, returned: progress.returned };
    }
}

pub(super) fn tally_json(tally: &Tally, lost: u64) -> Value {
    json!({
        "intact": tally.intact,
        "corrupted": tally.corrupted,
        "not_transformed": tally.not_transformed,
        "truncated": tally.truncated,
        "lost": lost,
        "duplicated": tally.duplicated,
        "reordered": tally.reordered,
        "late": tally.late,
        "foreign": tally.foreign,
        "malformed": tally.malformed,
        "forgotten": tally.forgotten,
    })
}

fn wrong(tally: &Tally) -> u64 {
    tally.corrupted + tally.not_transformed + tally.truncated
}

fn latency_table(outcome: &LoadOutcome, breakdown: bool) -> String {
    let mut columns: Vec<(&str, &Latency)> =
        vec![("response", &outcome.latencies.response), ("service", &outcome.latencies.service)];
    if breakdown {
        columns.push(("to kernel stamp", &outcome.latencies.until_kernel));
        columns.push(("in our ring", &outcome.latencies.in_ring));
    }
    let header: Vec<&str> = std::iter::once("latency").chain(columns.iter().map(|c| c.0)).collect();
    let mut rows = table(&header);
    for percentile in LADDER {
        let values = columns.iter().map(|(_, latency)| nanoseconds(latency.percentile(percentile)));
        rows.add_row(std::iter::once(format!("p{percentile}")).chain(values));
    }
    for (name, value) in [
        ("max", Latency::max as fn(&Latency) -> u64),
        ("mean", |latency| latency.mean() as u64),
        ("standard deviation", |latency| latency.stdev() as u64),
    ] {
        let values = columns.iter().map(|(_, latency)| nanoseconds(value(latency)));
        rows.add_row(std::iter::once(name.to_string()).chain(values));
    }
    rows.to_string()
}

fn bits(per_second: f64) -> String {
    if per_second >= 1e9 {
        format!("{:.2} Gb/s", per_second / 1e9)
    } else {
        format!("{:.1} Mb/s", per_second / 1e6)
    }
}

fn signed(frames: i128) -> String {
    let digits = grouped(frames.unsigned_abs().min(u128::from(u64::MAX)) as u64);
    if frames < 0 { format!("-{digits}") } else { format!("+{digits}") }
}
