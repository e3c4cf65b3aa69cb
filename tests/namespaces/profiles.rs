//! Profiles: what they choose serves, with any path.

use libtest_mimic::{Completion, Failed};
use linerate::engine::config::PathName;
use linerate::engine::pool::Engine;
use linerate::engine::profile::{Asked, Profile, tune};
use linerate::lab::{Lab, LabConfig};

use crate::check::{PATHS, Test, possible_test, test_of};
use crate::client::Client;
use crate::covering::chosen;
use crate::served::{Served, config};

pub fn tests() -> Vec<Test> {
    let turns = Profile::ALL.into_iter().zip(0..);
    let cases = turns.flat_map(|(profile, turn)| {
        let asked = std::iter::once(None).chain(chosen(&PATHS, turn).into_iter().map(Some));
        asked.map(move |path| (profile, path))
    });
    cases
        .map(|(profile, path)| {
            let name = path.map_or("auto".into(), |path| path.to_string());
            let name = format!("profiles, {name}: {} serves, and says why", profile.name());
            let run = move || serves(profile, path).map(|()| Completion::Completed);
            match path {
                Some(path) => test_of(path, name, run),
                None => possible_test(name, run),
            }
        })
        .collect()
}

fn serves(profile: Profile, asked: Option<PathName>) -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let mut config = config(&lab, PathName::RING, |_| {});
    tune(&mut config, profile, asked.map_or(Asked::default(), Asked::from), None)?;
    let client = Client::open(&lab.generator)?;
    let engine = Engine::start(&config)?;
    assert!(asked.is_none_or(|path| path == engine.path()));
    assert_eq!(config.profile, Some(profile));
    let notes = engine.notes().join("\n");
    if asked.is_none() {
        let said = [profile.name().to_owned(), engine.path().to_string()];
        assert!(said.iter().all(|word| notes.contains(word)), "{notes}");
    }
    assert!(notes.contains(config.wait.name()), "{notes}");
    let mut served = Served { engine, client, lab };
    // One by one, and more than any batch or small ring holds at once.
    (0..20).try_for_each(|number| served.echo(number..number + 1))?;
    (1..20).try_for_each(|round| served.echo(round * 100..round * 100 + 100))?;
    let (summary, _) = served.finish()?;
    assert_eq!(summary.counters.forwarded, 20 + 19 * 100);
    Ok(())
}
