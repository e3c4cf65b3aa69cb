use crate::devices::*;
use linerate::bench::search::goal::*;
use std::time::Duration;
#[test]
fn show() {
    for (name, cap, buf, rate) in [
        ("quiet", 2e5, 2048.0, 0.01),
        ("mild", 2e5, 2048.0, 2.0),
        ("ring busy", 2e5, 2048.0, 20.0),
        ("sock mild", 2e5, 277.0, 0.3),
        ("sock", 2e5, 277.0, 1.0),
        ("sock busy", 2e5, 277.0, 5.0),
    ] {
        let mut rows = vec![];
        for seed in 0..200 {
            let mut bench = Bench::new(seed, stolen(cap, buf, rate));
            bench.overhead = Duration::from_millis(150);
            let config = SearchConfig {
                max_duration: Duration::from_millis(36400),
                ..SearchConfig::between(1000.0, 6e5)
            };
            let r = bench.search(&config);
            let secs: f64 = r.trials.iter().map(|t| t.outcome.duration.as_secs_f64()).sum();
            rows.push((
                r.goals[0].lower_bound_pps.unwrap_or(0.0),
                r.goals[1].lower_bound_pps.unwrap_or(0.0),
                secs,
                r.goals[0].width.unwrap_or(9.0),
                r.halted.is_some(),
                r.goals[0].confirmed,
                r.goals[1].confirmed,
            ));
        }
        let q = |f: &dyn Fn(&(f64, f64, f64, f64, bool, Option<bool>, Option<bool>)) -> f64| {
            let mut v: Vec<f64> = rows.iter().map(|r| f(r)).collect();
            v.sort_by(f64::total_cmp);
            [v[0], v[10], v[100], v[190], v[199]].map(|x| (x * 1000.0).round() / 1000.0)
        };
        println!(
            "{name}: ndr {:?} pdr {:?} secs {:?} width {:?} halted {} conf {} {}",
            q(&|r| r.0 / 1e3),
            q(&|r| r.1 / 1e3),
            q(&|r| r.2),
            q(&|r| r.3),
            rows.iter().filter(|r| r.4).count(),
            rows.iter().filter(|r| r.5 == Some(true)).count(),
            rows.iter().filter(|r| r.6 == Some(true)).count()
        );
    }
}
#[test]
fn trace() {
    let mut shown;
    for (cap, buf, rate) in [(2e5, 2048.0, 2.0)] {
        shown = 0;
        for seed in 0..200 {
            let mut bench = Bench::new(seed, stolen(cap, buf, rate));
            bench.overhead = Duration::from_millis(150);
            let config = SearchConfig {
                max_duration: Duration::from_millis(36400),
                ..SearchConfig::between(1000.0, 6e5)
            };
            let r = bench.search(&config);
            if r.halted.is_some() && shown < 6 {
                shown += 1;
                println!(
                    "=== seed {seed} {:?} {:?}",
                    r.goals[0].lower_bound_pps, r.goals[1].lower_bound_pps
                );
                for t in &r.trials {
                    println!(
                        "{:?} {:?} {:.1} {:.1}k {:.3}%",
                        t.purpose,
                        t.goal,
                        t.duration.as_secs_f64(),
                        t.load_pps / 1e3,
                        100.0 * t.outcome.loss_ratio()
                    );
                }
                for g in &r.goals {
                    println!(
                        "{:?} {:?} {:?} {:?}",
                        g.lower_bound_pps, g.upper_bound_pps, g.width, g.irregular
                    );
                }
            }
        }
    }
}
