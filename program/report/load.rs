//! What `linerate load` says: what it sends, a line an interval, and where every frame stayed.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::base::Base;
use super::csv::CsvFile;
use super::hdr_log::HdrLog;
use super::load_document::document;
use super::load_text::{bits, latency_table, signed, sizes, span, stamps, time};
use super::pcap::PcapFile;
use super::text::{self, complain, grouped};
use crate::bench::account::Taken;
use crate::bench::floor::HarnessFloor;
use crate::bench::loading::{
    Finding, LoadObserver, LoadRequest, QueuePlan, Reach, Target, WHO_ANSWERS,
};
use crate::bench::testbed::End;
use crate::bench::vlan_filter;
use crate::error::{Error, Result};
use crate::load::pace::Pattern;
use crate::load::plan::LoadSpec;
use crate::load::run::{Drive, LATE_DEPARTURE, Latencies, LoadOutcome, Progress};
use crate::load::verify::Hops;
use crate::stats::counters::Tally;
use crate::stats::latency::Latency;
use crate::stats::state::State;
use crate::stats::waterfall::{Layer, Waterfall};
use crate::sys::privilege;
use crate::sys::runner::Restored;
use crate::units::{self, nanoseconds, percent, rate};

/// Files that a load writes, all opened before it runs.
#[derive(Debug, Default)]
pub struct LoadFiles<'a> {
    /// The JSON document.
    pub json: Option<&'a Path>,
    /// A row an interval.
    pub csv: Option<&'a Path>,
    /// The histogram log.
    pub hdr_log: Option<&'a Path>,
    /// Bad frames.
    pub pcap: Option<&'a Path>,
}

/// What `linerate load` says.
#[derive(Debug)]
pub struct LoadReport {
    base: Base,
    csv: Option<CsvFile>,
    hdr_log: Option<HdrLog>,
    pcap: Option<PcapFile>,
    floor: Option<HarnessFloor>,
    last: Seen,
    /// Response and service times of the intervals that are in the files.
    logged: (Latency, Latency),
    /// What each live line said, for the document.
    intervals: Vec<Value>,
    /// What went wrong with files; said at the end.
    trouble: Vec<Error>,
}

/// What the last live line had seen.
#[derive(Debug, Default)]
struct Seen {
    elapsed: Duration,
    sent: u64,
    returned: u64,
}

impl Seen {
    fn of(&Progress { elapsed, sent, returned, .. }: &Progress) -> Seen {
        Seen { elapsed, sent, returned }
    }
}

const CSV_HEADER: [&str; 11] = [
    "elapsed_s",
    "sent",
    "returned",
    "unanswered",
    "wrong",
    "response_p50_ns",
    "response_p99_ns",
    "response_max_ns",
    "service_p99_ns",
    "generator_limited",
    "disturbed_share",
];

impl LoadReport {
    /// Opens the outputs.
    pub fn open(files: &LoadFiles<'_>) -> Result<LoadReport> {
        Ok(LoadReport {
            base: Base::open(files.json)?,
            csv: files.csv.map(|path| CsvFile::create(path, &CSV_HEADER)).transpose()?,
            hdr_log: files.hdr_log.map(HdrLog::create).transpose()?,
            pcap: files.pcap.map(PcapFile::create).transpose()?,
            floor: None,
            last: Seen::default(),
            logged: Default::default(),
            intervals: Vec::new(),
            trouble: Vec::new(),
        })
    }

    fn record(&mut self, progress: &Progress, taken: &Taken) -> Result<()> {
        let Latencies { response, service, .. } = &*progress.interval;
        self.logged.0.merge(response);
        self.logged.1.merge(service);
        let now = Seen::of(progress);
        self.intervals.push(json!({
            "elapsed_s": now.elapsed.as_secs_f64(),
            "sent": now.sent,
            "returned": now.returned,
            "state": taken.state(),
        }));
        let state = (progress.is_behind, taken.share());
        self.write_interval(&now, &progress.tally, state, response, service)
    }

    /// What came after the last interval, so that the files hold the whole run.
    fn record_rest(&mut self, request: &LoadRequest, finding: &Finding) -> Result<()> {
        let outcome = &finding.outcome;
        let response = rest(&outcome.latencies.response, &self.logged.0);
        let service = rest(&outcome.latencies.service, &self.logged.1);
        let ended = request.spec.warm_up + Duration::from_nanos(outcome.span_ns) + outcome.drained;
        let now = Seen {
            elapsed: ended.max(self.last.elapsed),
            sent: outcome.sent + outcome.warm_up.sent,
            returned: outcome.tally.returned() + outcome.warm_up.tally.returned(),
        };
        let limit = outcome.generator_limit();
        let state = (limit.is_some(), finding.taken.share());
        self.write_interval(&now, &outcome.tally, state, &response, &service)?;
        match (&mut self.hdr_log, limit) {
            (Some(log), Some(limit)) => log.write_comment(&format!("generator-limited: {limit}")),
            _ => Ok(()),
        }
    }

    fn write_interval(
        &mut self,
        now: &Seen,
        tally: &Tally,
        (generator_limited, disturbed_share): (bool, f64),
        response: &Latency,
        service: &Latency,
    ) -> Result<()> {
        let began = self.last.elapsed;
        let lasted = now.elapsed.saturating_sub(began);
        if let Some(log) = &mut self.hdr_log {
            log.write_interval(Some("response"), began, lasted, response)?;
            log.write_interval(Some("service"), began, lasted, service)?;
        }
        if let Some(csv) = &mut self.csv {
            // Of nothing there is no percentile.
            let cell = |latency: &Latency, percentile| match latency.count() {
                0 => String::new(),
                _ => latency.percentile(percentile).to_string(),
            };
            csv.write_row(&[
                &format!("{:.3}", now.elapsed.as_secs_f64()),
                &now.sent,
                &now.returned,
                &now.sent.saturating_sub(now.returned),
                &wrong(tally),
                &cell(response, 50.0),
                &cell(response, 99.0),
                &cell(response, 100.0),
                &cell(service, 99.0),
                &u8::from(generator_limited),
                &format!("{disturbed_share:.3}"),
            ])?;
        }
        Ok(())
    }

    /// The end of the run.
    pub fn finish(&mut self, request: &LoadRequest, finding: &Finding) -> Result<()> {
        self.base.end();
        let outcome = &finding.outcome;
        if let Err(error) = self.record_rest(request, finding) {
            self.trouble.push(error);
        }
        for note in &outcome.notes {
            self.base.say(format!("  {note}"));
        }
        if outcome.offered == 0 && outcome.stopped {
            self.base.say("\nNOTHING WAS MEASURED: the run ended during the warm-up");
        } else {
            self.say_rate(outcome);
        }
        self.say_frames(outcome);
        self.base.queue_counts(finding);
        self.say_drain(outcome.drained, request.spec.drain);
        if outcome.latencies.service.count() > 0 {
            self.base.say(latency_table(outcome, request.spec.breakdown));
            if let Some(share) = outcome.untouched_share().filter(|_| request.spec.breakdown) {
                let share = percent(share);
                self.base
                    .say(format!("no gap of the receiving thread's time touches {share} of them"));
            }
            if let Some(line) = text::beyond(outcome.latencies.response.beyond()) {
                self.base.say(line);
            }
            self.say_jitter(outcome);
        }
        if let Some(lines) = stamps(&request.spec.stamps, outcome.nic.as_deref()) {
            self.base.say(lines);
        }
        if outcome.untimed > 0 {
            let untimed = grouped(outcome.untimed);
            self.base.say(format!(
                "{untimed} intact frames came back so late that they are in no latency above"
            ));
        }
        self.say_waterfall(&finding.waterfall);
        for disturbance in &finding.disturbances {
            self.base.say(format!("DISTURBED: {disturbance}"));
        }
        self.say_taken(finding);
        if outcome.stopped && outcome.offered > 0 {
            self.base.say("interrupted: this is what was measured until then");
        }
        if let Some(reason) = &outcome.broken {
            self.base.say(format!("ENDED EARLY: {reason}"));
        }
        let document = document(request, finding, self.floor.as_ref(), &self.intervals);
        let written = [self.publish(outcome), self.base.write("linerate.load/1", &document)];
        self.trouble.extend(written.into_iter().filter_map(Result::err));
        // Each of them is said: one file that cannot be written does not stop the others.
        let last = self.trouble.pop();
        self.trouble.iter().for_each(complain);
        last.map_or(Ok(()), Err)
    }

    /// The NIC's setting was put back; an error if it was not.
    pub fn restored(&mut self, restored: &Restored) -> Option<Error> {
        self.base.restored(restored).then(|| {
            Error::Run("the NIC's stamps are not set as before: ethtool -T shows them".into())
        })
    }

    /// Puts the files beside the document in their places.
    fn publish(&mut self, outcome: &LoadOutcome) -> Result<()> {
        let csv = self.csv.as_mut().map_or(Ok(()), CsvFile::publish);
        let hdr_log = self.hdr_log.as_mut().map_or(Ok(()), HdrLog::publish);
        let pcap = self.pcap.as_mut().map_or(Ok(()), |pcap| {
            let mut bad = outcome.evidence.iter();
            bad.try_for_each(|bad| pcap.write(bad.stamp_ns, bad.wire_bytes, &bad.bytes))
                .and(pcap.publish())
        });
        csv.and(hdr_log).and(pcap)
    }

    /// A machine that takes the generator's CPU away makes a drain longer than it may be.
    fn say_drain(&mut self, took: Duration, most: Duration) {
        let (took_s, most_s) = (units::duration(took), units::duration(most));
        self.base.say(match took > most + DRAIN_SLACK {
            true => format!(
                "  waited {took_s} for the last echoes: longer than {most_s} (--drain) because the \
                 generator had no CPU meanwhile"
            ),
            false => format!("  waited {took_s} for the last echoes (at most {most_s})"),
        });
    }

    fn say_rate(&mut self, outcome: &LoadOutcome) {
        let (pps, bits_l2_l1) = (outcome.achieved_pps(), outcome.achieved_bits_per_second());
        let (Some(pps), Some((l2, l1))) = (pps, bits_l2_l1) else { return };
        self.base.say(format!(
            "\nachieved {} ({} L2, {} L1) over {} by {} + {}",
            rate(pps),
            bits(l2),
            bits(l1),
            span(outcome.span_ns),
            outcome.halves.0,
            outcome.halves.1,
        ));
        if let (Some(asked), Some(error)) = (outcome.asked, outcome.rate_error()) {
            self.base.say(format!("  asked {asked}, error {:+.3} %", 100.0 * error));
        }
        if let Some(limit) = outcome.generator_limit() {
            self.base.say(format!(
                "GENERATOR-LIMITED: {limit}.\n  The generator missed the asked rate; the device was \
                 not the limit"
            ));
        }
        let departures = &outcome.departures;
        if departures.lateness.count() > 0 {
            self.base.say(format!(
                "departures: {} of {} more than {} late, worst {}\n  gap error p99 {}",
                grouped(departures.late),
                grouped(departures.lateness.count()),
                nanoseconds(LATE_DEPARTURE.as_nanos() as u64),
                nanoseconds(departures.lateness.max()),
                time(&departures.gap_errors, departures.gap_errors.percentile(99.0)),
            ));
        }
    }

    fn say_frames(&mut self, outcome: &LoadOutcome) {
        let tally = &outcome.tally;
        self.base.say(format!(
            "offered {} = sent {} + behind schedule {} + refused {}",
            grouped(outcome.offered),
            grouped(outcome.sent),
            grouped(outcome.unsent_late),
            grouped(outcome.unsent_refused),
        ));
        // Every number is one of these; zeros are left out.
        let wrong: String = [
            (tally.corrupted, "corrupted"),
            (tally.not_transformed, "not transformed"),
            (tally.truncated, "truncated"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!(" + {what} {}", grouped(*count)))
        .collect();
        self.base.say(format!(
            "sent {} = intact {}{wrong} + lost {}",
            grouped(outcome.sent),
            grouped(tally.intact),
            grouped(outcome.lost),
        ));
        if let Some(loss) = outcome.loss_ratio() {
            self.base.say(format!("  not back intact: {:.4} %", 100.0 * loss));
        }
        if outcome.is_silence() {
            self.base.say(format!("NOTHING CAME BACK. {WHO_ANSWERS}"));
        }
        let beside = [
            (tally.duplicated, "duplicated".to_string()),
            (tally.reordered, format!("reordered (extent {})", outcome.reorder_extent_max)),
            (tally.late, "late echoes".into()),
            (tally.foreign, "foreign".into()),
            (tally.other_loads, "of another linerate load".into()),
            (tally.malformed, "malformed".into()),
            (tally.forgotten, "forgotten".into()),
        ];
        let named: Vec<String> = beside
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", grouped(*count)))
            .collect();
        if !named.is_empty() {
            self.base.say(format!("beside these: {}", named.join(", ")));
        }
        if let Some(Hops { least, most }) = outcome.hops {
            let hops = if least == most { most.to_string() } else { format!("{least} to {most}") };
            self.base.say(format!("routed: {hops} hops, there and back"));
        }
        if tally.other_loads > 0 {
            self.base.say(format!(
                "WARNING: {} frames of another linerate load arrived: it shares the link and the device. \
                 None was counted as ours",
                grouped(tally.other_loads)
            ));
        }
        for damage in outcome.damage.iter().take(DAMAGE_SHOWN) {
            self.base.say(format!(
                "  frame {}: first wrong byte at offset {}, {} bytes came back",
                damage.sequence, damage.first_offset, damage.received_bytes
            ));
        }
    }

    fn say_jitter(&mut self, outcome: &LoadOutcome) {
        let response = outcome.latencies.response.summary();
        if let Some(jitter) = outcome.jitter.known() {
            self.base.say(format!(
                "jitter (RFC 3550) {}, mean difference {}\n  delay variation (RFC 5481) p99 {}",
                nanoseconds(jitter.smoothed_ns() as u64),
                nanoseconds(jitter.mean_ns() as u64),
                nanoseconds(response.delay_variation(response.p99)),
            ));
        }
        if outcome.clock_steps > 0 {
            self.base.say(format!(
                "WARNING: the clock was set {} times meanwhile: kernel stamps and jitter are off",
                outcome.clock_steps
            ));
        }
    }

    /// What was taken of the CPUs, where that is worth a line.
    fn say_taken(&mut self, finding: &Finding) {
        if finding.taken.state() != State::Clear {
            self.base.say(format!("DISTURBED: {}", finding.taken));
        }
        if let state @ State::CannotTell { .. } = finding.state() {
            self.base.say(format!("state of these numbers: {state}"));
        }
    }

    fn say_waterfall(&mut self, waterfall: &Waterfall) {
        self.base.say("where the frames went, the warm-up included:");
        self.base.say(format!("  {:>16}  offered", grouped(waterfall.offered)));
        let losses = waterfall.stages.iter().filter(|stage| stage.frames != 0);
        for stage in losses {
            let layer = json!(stage.layer);
            let place = match stage.layer {
                Layer::BeyondSight => "in the device or on its way".into(),
                _ => layer.as_str().unwrap_or_default().replace('_', " "),
            };
            self.base.say(format!(
                "  {:>16}  {} ({place})",
                signed(-stage.frames),
                stage.name.replace('_', " "),
            ));
        }
        self.base.say(format!("  {:>16}  returned intact", grouped(waterfall.returned_intact)));
        if waterfall.unexplained != 0 {
            self.base.say(format!("  unexplained: {}", waterfall.unexplained));
        }
    }

    /// Prints the thresholds that were missed; returns whether any was. A run without results misses
    /// all.
    pub fn thresholds_missed(
        &mut self,
        max_loss: Option<f64>,
        max_p99: Option<Duration>,
        outcome: &LoadOutcome,
    ) -> bool {
        let mut missed = Vec::new();
        if let Some(most) = max_loss {
            let asked = format!("at most {} % asked", 100.0 * most);
            match outcome.loss_ratio() {
                None => missed.push(format!("loss unknown, no frame was sent; {asked}")),
                Some(loss) if loss > most => {
                    missed.push(format!("loss {:.4} %, {asked}", 100.0 * loss));
                }
                Some(_) => {}
            }
        }
        if let Some(most) = max_p99 {
            let asked = format!("at most {} asked", nanoseconds(most.as_nanos() as u64));
            let response = &outcome.latencies.response;
            let p99 = response.percentile(99.0);
            if response.count() == 0 {
                missed.push(format!("response p99 unknown, no frame came back; {asked}"));
            } else if u128::from(p99) > most.as_nanos() {
                missed.push(format!("response p99 {}, {asked}", nanoseconds(p99)));
            }
        }
        missed.iter().for_each(|what| self.base.say(format!("MISSED: {what}")));
        !missed.is_empty()
    }
}

const DAMAGE_SHOWN: usize = 5;

/// What a drain takes longer than it may on a machine that is not busy: one look at the socket.
const DRAIN_SLACK: Duration = Duration::from_millis(50);

impl LoadObserver for LoadReport {
    fn start(
        &mut self,
        request: &LoadRequest,
        here: &End,
        config: &LoadSpec,
        floor: &HarnessFloor,
        queues: &QueuePlan,
    ) {
        let what = match request.spec.drive {
            Drive::Paced { rate, pattern: Pattern::Constant } => format!("rate {rate}"),
            Drive::Paced { rate, pattern } => format!("rate {rate}, {pattern}"),
            Drive::Window(1) => "one frame at a time".into(),
            Drive::Window(frames) => format!("{frames} frames unanswered"),
        };
        let station = match &request.reach {
            Reach::Device { target: Target::Port { .. }, .. } => {
                format!(" ({})", config.destination)
            }
            _ => String::new(),
        };
        let headline = format!("linerate load: {} to {}{station}", here.link.name, request.reach);
        let user = privilege::user_name();
        let kept = match privilege::can_drop() {
            true => "without capabilities once its sockets are open".into(),
            false => format!("{} capabilities", privilege::capabilities()),
        };
        let runs_as = format!("runs as {user}, {kept}");
        self.base.header(headline, &here.link, request.shares_cpu(), runs_as);
        self.base.say(format!("  sizes with FCS {}, {what}", sizes(&request.spec.sizes)));
        let measured = match (request.spec.limits.duration, request.spec.limits.count) {
            (Some(most), Some(count)) => {
                format!("{} frames or {}", grouped(count), units::duration(most))
            }
            (None, Some(count)) => format!("{} frames", grouped(count)),
            (duration, None) => units::duration(duration.unwrap_or_default()),
        };
        self.base.say(format!(
            "  measured for {measured} after a warm-up of {}",
            units::duration(request.spec.warm_up)
        ));
        if let Some(hint) = vlan_filter::hint(here, &config.carriage.tags) {
            self.base.say(format!("  WARNING: {hint}"));
        }
        match (request.spec.flows, request.reach.is_udp()) {
            (1, _) => {}
            (flows, true) => self.base.say(format!("  {flows} flows by UDP source port")),
            (flows, false) => self.base.say(format!(
                "  {flows} flows by source MAC, which neither receive queues (RSS) nor hash fanout spread"
            )),
        }
        self.base.say(format!(
            "  clock {} on CPU {}: {:.0} ns a read; a 50 µs sleep ends {} late (p50)",
            floor.clock_source,
            floor.cpu,
            floor.clock_read_ns,
            nanoseconds(floor.sleep_late_p50_ns),
        ));
        self.base.queue_plan(&here.link.name, queues);
        self.floor = Some(floor.clone());
        let total = request.spec.limits.duration.map(|time| time + request.spec.warm_up);
        if let Some(total) = total {
            self.base.begin(total.as_millis() as u64, Duration::MAX);
        }
    }

    fn progress(&mut self, progress: &Progress, taken: &Taken) {
        let seconds =
            progress.elapsed.saturating_sub(self.last.elapsed).as_secs_f64().max(f64::MIN_POSITIVE);
        let response = progress.interval.response.summary();
        // Of the warm-up there are no times, and after a stall there may be none either.
        let times = match (progress.warming_up, response.count) {
            (true, _) => "warm-up".into(),
            (false, 0) => "p50 - p99 - max -".into(),
            _ => format!(
                "p50 {} p99 {} max {}",
                nanoseconds(response.p50),
                nanoseconds(response.p99),
                nanoseconds(response.max),
            ),
        };
        let behind = if progress.is_behind { "  GENERATOR BEHIND" } else { "" };
        let robbed = match taken.state() {
            State::Clear => String::new(),
            _ => format!("  ROBBED {:.0} %", 100.0 * taken.share()),
        };
        let line = format!(
            "{:>4.1} s  sent {:>8}  back {:>8}  open {} {times}{behind}{robbed}",
            progress.elapsed.as_secs_f64(),
            rate((progress.sent - self.last.sent) as f64 / seconds),
            rate((progress.returned - self.last.returned) as f64 / seconds),
            progress.unanswered(),
        );
        if let Err(error) = self.record(progress, taken) {
            self.trouble.push(error);
        }
        self.base.say(line);
        self.base.advance(progress.elapsed.as_millis() as u64);
        self.last = Seen::of(progress);
    }
}

fn wrong(tally: &Tally) -> u64 {
    tally.corrupted + tally.not_transformed + tally.truncated
}

/// What is in `all` and not in `logged`, which is a part of it.
fn rest(all: &Latency, logged: &Latency) -> Latency {
    let mut left = all.histogram().clone();
    let mut rest = Latency::default();
    if left.subtract(logged.histogram()).is_ok() {
        left.iter_recorded().for_each(|step| {
            rest.record_many(step.value_iterated_to(), step.count_since_last_iteration());
        });
    }
    rest
}
