//! How long frames stayed away around a change, told by the echoes of a constant rate.
//!
//! RFC 2544 section 26.6 (reset, as RFC 6201 has it) asks for the time from the last frame before to the first
//! one after, and for the lost frames divided by the rate; section 26.5 (system recovery) for the time
//! from the change to the last lost frame.

use serde::Serialize;

/// Frames come back steadily when nothing is missing for so long.
pub const STEADY_NS: u64 = 200_000_000;

/// They are back, steadily or not, if so many of them are of the last [`STEADY_NS`].
const BACK_SHARE: f64 = 0.9;

/// A shorter time without an echo is no interruption, nor are fewer frames' times than [`GAP_FRAMES`].
const GAP_NS: u64 = 20_000_000;
const GAP_FRAMES: f64 = 20.0;

/// A call that changes something: when it was made and when it came back, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Made.
    pub begin_ns: u64,
    /// Came back.
    pub end_ns: u64,
}

/// What a step did to the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Recovery {
    /// How long the call took, in nanoseconds.
    pub call_ns: u64,
    /// From the call to the first echo from which on they came steadily, in nanoseconds; 0 if nothing
    /// was missing, `None` if something always was.
    pub recovery_ns: Option<u64>,
    /// Whether they came back, for the most part.
    pub back: bool,
    /// The longest time between two intact echoes, in nanoseconds.
    pub outage_ns: u64,
    /// Frames that did not come back intact until then.
    pub lost: u64,
    /// Their number divided by the rate, in nanoseconds.
    pub lost_ns: u64,
}

/// An intact echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Echo {
    /// The number of its frame.
    pub number: u64,
    /// When that left, in nanoseconds: 0 if it is the generator's link that was changed, since a frame
    /// that waits for it leaves when it is back.
    pub sent_ns: u64,
    /// When the echo came, in nanoseconds.
    pub came_ns: u64,
}

/// The intact echoes of a load at a constant rate.
#[derive(Debug)]
pub struct Echoes {
    spans: Vec<Span>,
    every_ns: f64,
}

/// What is between two echoes.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// When the first one came, and the second one; `u64::MAX` if none did.
    from_ns: u64,
    to_ns: u64,
    /// Frames between them that did not come back.
    missing: u64,
    /// For how long one of them was waited for.
    waited_ns: u64,
}

impl Echoes {
    /// `all` of `sent` frames that left at `pps` until `end_ns`.
    pub fn new(mut all: Vec<Echo>, sent: u64, pps: f64, end_ns: u64) -> Echoes {
        all.sort_unstable();
        let every_ns = 1e9 / pps;
        let mut spans = Vec::with_capacity(all.len() + 1);
        let (mut expected, mut from_ns) = (0, all.first().map_or(0, |first| first.came_ns));
        for Echo { number, sent_ns, came_ns } in all {
            let missing = number - expected;
            // A generator that stood still sent nothing that could come back.
            let since_ns = if missing == 0 { from_ns.max(sent_ns) } else { from_ns };
            let waited_ns = came_ns.saturating_sub(since_ns);
            spans.push(Span { from_ns: from_ns.min(came_ns), to_ns: came_ns, missing, waited_ns });
            (expected, from_ns) = (number + 1, came_ns.max(from_ns));
        }
        // Nothing ends the last span, unless all is there until the end.
        let missing = sent.saturating_sub(expected);
        let waited_ns = end_ns.saturating_sub(from_ns);
        let mut last = Span { from_ns, to_ns: end_ns, missing, waited_ns };
        let mut echoes = Echoes { spans, every_ns };
        if echoes.interrupts(&last) {
            last.to_ns = u64::MAX;
        }
        echoes.spans.push(last);
        echoes
    }

    fn interrupts(&self, span: &Span) -> bool {
        let gap_ns = GAP_NS.max((GAP_FRAMES * self.every_ns) as u64);
        span.missing > 0 || span.waited_ns > gap_ns
    }

    /// Frames that did not come back intact.
    pub fn missing(&self) -> u64 {
        self.spans.iter().map(|span| span.missing).sum()
    }

    /// What `steps` did to the frames until `end_ns`. The first one begins it, the last one's call is what
    /// recovery is counted from.
    pub fn recovery(&self, steps: &[Step], end_ns: u64) -> Recovery {
        let (Some(first), Some(step)) = (steps.first(), steps.last()) else {
            return Recovery::default();
        };
        let (mut until_ns, mut lost, mut outage_ns) = (step.begin_ns, 0, 0);
        let (mut came, mut missed) = (0, 0);
        for span in &self.spans {
            let Span { from_ns, to_ns, missing, waited_ns } = *span;
            if to_ns <= first.begin_ns || from_ns >= end_ns {
                continue;
            }
            // What is cut here by the next step is that one's.
            if to_ns > end_ns && to_ns < u64::MAX {
                continue;
            }
            if to_ns > end_ns.saturating_sub(STEADY_NS) {
                (came, missed) = (came + u64::from(to_ns <= end_ns), missed + missing);
            }
            // Without any echo nothing is known of the time before.
            let longest_ns = if from_ns == 0 { end_ns - first.begin_ns } else { waited_ns };
            outage_ns = outage_ns.max(longest_ns);
            let joins = from_ns <= until_ns.saturating_add(STEADY_NS);
            if joins && self.interrupts(span) {
                (until_ns, lost) = (until_ns.max(to_ns), lost + missing);
            }
        }
        let is_steady = end_ns.saturating_sub(until_ns) >= STEADY_NS / 2;
        Recovery {
            call_ns: step.end_ns.saturating_sub(step.begin_ns),
            recovery_ns: is_steady.then(|| until_ns - step.begin_ns),
            back: came as f64 >= BACK_SHARE * (came + missed) as f64 && came > 0,
            outage_ns,
            lost,
            lost_ns: (lost as f64 * self.every_ns) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// 3000 frames, one a millisecond, of which those come back that `comes` gives an arrival for, in
    /// milliseconds.
    fn echoes(comes: impl Fn(u64) -> Option<u64>) -> Echoes {
        let echo = |number, ms: u64| Echo { number, sent_ns: number * MS, came_ns: ms * MS };
        let all = (0..3000).filter_map(|number| comes(number).map(|ms| echo(number, ms)));
        Echoes::new(all.collect(), 3000, 1000.0, 3000 * MS)
    }

    fn step(at_ms: u64) -> Step {
        Step { begin_ns: at_ms * MS, end_ns: (at_ms + 2) * MS }
    }

    fn after(echoes: &Echoes, at_ms: &[u64]) -> Recovery {
        let steps: Vec<Step> = at_ms.iter().copied().map(step).collect();
        echoes.recovery(&steps, 3000 * MS)
    }

    #[test]
    fn nothing_missing_is_no_interruption() {
        let found = after(&echoes(|number| Some(number + 1)), &[1000]);
        let expected = Recovery {
            call_ns: 2 * MS,
            recovery_ns: Some(0),
            back: true,
            outage_ns: MS,
            ..Recovery::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn lost_frames_and_the_longest_silence_say_how_long_it_took() {
        let echoes = echoes(|number| (!(1000..1500).contains(&number)).then_some(number + 1));
        let found = after(&echoes, &[1000]);
        assert_eq!((found.recovery_ns, found.outage_ns), (Some(501 * MS), 501 * MS));
        assert_eq!((found.lost, found.lost_ns), (500, 500 * MS));
        // Cut on purpose at 1000, and made whole again at 1300.
        let found = after(&echoes, &[1000, 1300]);
        assert_eq!((found.recovery_ns, found.lost), (Some(201 * MS), 500));
        assert_eq!(echoes.missing(), 500);
    }

    #[test]
    fn frames_held_back_are_late_and_not_lost() {
        let found =
            after(&echoes(|n| Some(if (1000..1400).contains(&n) { 1401 } else { n + 1 })), &[1000]);
        assert_eq!((found.recovery_ns, found.lost), (Some(401 * MS), 0));
        // Sent late, they were not waited for.
        let late = |number| Echo { number, sent_ns: 1400 * MS, came_ns: 1401 * MS };
        let on_time = |number| Echo { number, sent_ns: number * MS, came_ns: (number + 1) * MS };
        let all = (0..3000).map(|n| if (1000..1400).contains(&n) { late(n) } else { on_time(n) });
        let found = after(&Echoes::new(all.collect(), 3000, 1000.0, 3000 * MS), &[1000]);
        assert_eq!((found.recovery_ns, found.outage_ns), (Some(0), MS));
    }

    #[test]
    fn a_second_outage_counts_until_frames_come_steadily() {
        let comes = |ms| {
            move |n: u64| (!(1000..1100).contains(&n) && !(ms..ms + 50).contains(&n)).then_some(n)
        };
        assert_eq!(after(&echoes(comes(1200)), &[1000]).recovery_ns, Some(250 * MS));
        let later = echoes(comes(2000));
        let found = after(&later, &[1000]);
        assert_eq!((found.recovery_ns, found.lost), (Some(100 * MS), 100));
        assert_eq!(later.missing(), 150, "fifty are lost for another reason");
    }

    #[test]
    fn who_never_comes_back_has_not_recovered() {
        let dead = echoes(|number| (number < 1000).then_some(number));
        let found = after(&dead, &[1000]);
        assert_eq!((found.recovery_ns, found.back, found.lost), (None, false, 2000));
        assert_eq!(found.outage_ns, 2001 * MS);
        // Nor one that loses one in a hundred for ever.
        let leaky = echoes(|number| (number < 1000 || number % 100 > 0).then_some(number));
        assert_eq!(after(&leaky, &[1000]).recovery_ns, None);
        assert!(after(&leaky, &[1000]).back, "for the most part");
        let mute = echoes(|_| None);
        assert_eq!((after(&mute, &[1000]).recovery_ns, after(&mute, &[1000]).back), (None, false));
        assert_eq!(mute.missing(), 3000);
    }

    #[test]
    fn what_the_next_step_interrupts_is_not_this_ones() {
        let echoes = echoes(|number| (!(1500..1800).contains(&number)).then_some(number));
        let found = echoes.recovery(&[step(1000)], 1500 * MS);
        assert_eq!((found.recovery_ns, found.back, found.lost), (Some(0), true, 0));
        assert_eq!(after(&echoes, &[1500]).lost, 300);
    }
}
