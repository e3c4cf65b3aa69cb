//! Which paths a test runs over. With `LINERATE_LONG` in the environment these are all that it concerns.
//! By default they are a covering set: every test meets every receive half and every transmit half, and
//! following tests meet them in other pairs, so that the suite as a whole meets every pair and every preset.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use linerate::engine::names::{PathName, RxName, TxName};

use crate::check::{PATHS, Test, pairs, test};

/// Whether the full product of tests and paths is asked for.
pub fn is_long() -> bool {
    std::env::var_os("LINERATE_LONG").is_some()
}

/// So much of something, or by default no more of it than `enough`.
pub fn at_most(all: u64, enough: u64) -> u64 {
    if is_long() { all } else { enough }
}

/// Those of `paths` that the test number `turn` of a topic runs over.
pub fn chosen(paths: &[PathName], turn: usize) -> Vec<PathName> {
    if is_long() { paths.to_vec() } else { covering(paths, turn) }
}

fn covering(paths: &[PathName], turn: usize) -> Vec<PathName> {
    let mut chosen: Vec<PathName> = Vec::new();
    for rx in RxName::ALL {
        let with: Vec<_> = paths.iter().filter(|path| path.rx == rx).collect();
        chosen.extend(with.iter().cycle().nth(turn + chosen.len()).copied());
    }
    for tx in TxName::ALL {
        if !chosen.iter().any(|path| path.tx == tx) {
            let with: Vec<_> = paths.iter().filter(|path| path.tx == tx).collect();
            chosen.extend(with.iter().cycle().nth(turn).copied());
        }
    }
    chosen
}

/// What `others`, the names of all other tests, must cover, and each choice for itself.
pub fn tests(others: &[Test]) -> Vec<Test> {
    let names: Vec<String> = others.iter().map(|one| one.name.clone()).collect();
    vec![
        test("covering: every choice has every half", every_choice),
        test("covering: the suite meets every pair and every preset", move || whole_suite(&names)),
    ]
}

fn every_choice() -> Result<(), Failed> {
    for paths in [pairs(), PATHS.to_vec()] {
        for turn in 0..12 {
            let chosen = covering(&paths, turn);
            for &PathName { rx, tx } in &paths {
                assert!(chosen.iter().any(|path| path.rx == rx), "{rx:?}, turn {turn}");
                assert!(chosen.iter().any(|path| path.tx == tx), "{tx:?}, turn {turn}");
            }
        }
    }
    Ok(())
}

fn whole_suite(names: &[String]) -> Result<(), Failed> {
    let mut met = BTreeMap::<String, usize>::new();
    for path in pairs() {
        let mark = format!(", {path}");
        let of_it = |name: &&String| {
            name.split_once(&mark).is_some_and(|(_, rest)| rest.starts_with([':', ',']))
        };
        met.insert(path.to_string(), names.iter().filter(of_it).count());
    }
    let rare: Vec<_> = met.iter().filter(|&(_, &trials)| trials < 3).collect();
    assert!(rare.is_empty(), "too few trials: {rare:?}");
    for (name, path) in PathName::PRESETS {
        let trials = met[&path.to_string()];
        assert!(trials >= 10, "{name} has {trials} trials");
    }
    Ok(())
}
