//! What it costs to keep one latency. The counts are asserted.

mod measure;

use std::hint::black_box;

use linerate::stats::latency::{LATENCY_NS_MAX, Latency};

/// Latencies of a batch, spread as those of a real run are: most near 20 µs, some far beyond.
const BATCH: u64 = 1024;

fn stamps(now_ns: u64) -> Vec<u64> {
    let mut state = 1u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..BATCH)
        .map(|n| {
            now_ns - if n % 100 == 0 { random() % 5_000_000 } else { 15_000 + random() % 10_000 }
        })
        .collect()
}

fn record() {
    const NOW_NS: u64 = 1_700_000_000_000_000_000;
    let stamps = stamps(NOW_NS);
    let mut latency = Latency::default();
    measure::calls("latency, record", BATCH, || {
        let before = latency.count();
        for &stamp in &stamps {
            latency.record_between(black_box(stamp), black_box(NOW_NS));
        }
        assert_eq!(latency.count(), before + BATCH);
    });
    assert_eq!((latency.beyond(), latency.backwards()), (0, 0));
    assert!(latency.count() == 0 || (15_000..=25_050).contains(&latency.percentile(50.0)));

    let mut latency = Latency::default();
    let mut batches = 0;
    measure::calls("latency, record beyond the edges", BATCH, || {
        for _ in 0..BATCH / 2 {
            latency.record_between(black_box(NOW_NS), black_box(NOW_NS - 1));
            latency.record_between(black_box(NOW_NS - LATENCY_NS_MAX - 1), black_box(NOW_NS));
        }
        batches += 1;
    });
    let each = batches * BATCH / 2;
    assert_eq!((latency.beyond(), latency.backwards()), (each, each));
}

/// Once a second and worker, not per frame.
fn merge() {
    let mut sum = Latency::default();
    let mut one = Latency::default();
    (1..=BATCH).for_each(|ns| one.record(ns * 100));
    measure::calls("latency, merge and reset", 1, || {
        sum.reset();
        sum.merge(black_box(&one));
        assert_eq!(sum.count(), BATCH);
    });
}

fn main() {
    record();
    merge();
}
