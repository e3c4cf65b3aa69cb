//! Who takes part in a comparison: a path, a profile, how workers wait; as typed and as printed.

use std::fmt;
use std::str::FromStr;

use super::ab::ARMS;
use super::testbed::Testbed;
use crate::engine::config::{EngineConfig, PathName};
use crate::engine::names::TxName;
use crate::engine::profile::{Asked, Profile, tune};
use crate::engine::wait::{SPIN, Wait};
use crate::error::Result;
use crate::units::parse_positive_duration;
use linerate_core::serialize_as_text;

/// An engine that takes part: typed and printed as `PATH` or `PROFILE`, with `@PROFILE` or `@WAIT`
/// behind it where the one does not come with the other: `ring-v2`, `ring-v2@spin`, `latency`,
/// `ring@latency`, `balanced@adaptive=20us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contestant {
    /// The path, or the profile that chooses one.
    pub name: Name,
    /// The profile that chooses the knobs of a path that was named.
    pub profile: Option<Profile>,
    /// How its workers wait, unless a profile says so.
    pub wait: Option<Wait>,
}

/// What a contestant's name begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A path.
    Path(PathName),
    /// A profile, which also chooses the path.
    Profile(Profile),
    /// An arm of an A/B test, by its place in [`ARMS`].
    Arm(usize),
}

impl Contestant {
    /// What all others are measured against: the tutorial's path, asleep until a frame comes.
    pub const BASELINE: Contestant = Contestant::of(PathName::SYSCALL);

    /// `path` as it is by default.
    pub const fn of(path: PathName) -> Contestant {
        Contestant { name: Name::Path(path), profile: None, wait: None }
    }

    /// An arm of an A/B test.
    pub const fn arm(number: usize) -> Contestant {
        Contestant { name: Name::Arm(number), profile: None, wait: None }
    }

    /// Its place in [`ARMS`], if it is an arm.
    pub const fn as_arm(&self) -> Option<usize> {
        match self.name {
            Name::Arm(number) => Some(number),
            _ => None,
        }
    }

    /// Whether it can send tagged frames back. (No profile chooses a path that cannot.)
    pub fn sees_tags(&self) -> bool {
        match self.name {
            Name::Path(path) => path.sees_tags(),
            Name::Profile(_) | Name::Arm(_) => true,
        }
    }

    /// Whether its frames leave by a BPF program, which a veth takes only while its peer polls.
    pub fn sends_by_program(&self) -> bool {
        matches!(self.name, Name::Path(PathName { tx: TxName::Bpf, .. }))
    }

    /// An engine of this kind at the testbed's far end, with a worker on each of `cpus`.
    pub fn engine_config(&self, testbed: &Testbed, cpus: &[usize]) -> Result<EngineConfig> {
        let mut config = EngineConfig {
            namespace: Some(testbed.engine.namespace.clone()),
            workers: cpus.len(),
            cpus: cpus.to_vec(),
            force: testbed.force,
            ..EngineConfig::new(&testbed.engine.link.name)
        };
        match (self.name, self.profile) {
            (Name::Profile(profile), _) => tune(&mut config, profile, Asked::default(), None)?,
            (Name::Path(path), Some(profile)) => tune(&mut config, profile, path.into(), None)?,
            (Name::Path(path), None) => config.path = path,
            (Name::Arm(_), _) => {}
        }
        config.wait = self.wait.unwrap_or(config.wait);
        Ok(config)
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut label = match self.name {
            Name::Path(path) => path.to_string(),
            Name::Profile(profile) => profile.name().to_string(),
            Name::Arm(number) => ARMS[number].to_string(),
        };
        if let Some(profile) = self.profile {
            label += &format!("@{}", profile.name());
        }
        match self.wait {
            None => {}
            Some(Wait::Adaptive(spin)) if spin != SPIN => {
                // ASCII, so that it can be typed.
                label += &format!("@adaptive={spin:?}").replace('µ', "u");
            }
            Some(wait) => label += &format!("@{}", wait.name()),
        }
        f.pad(&label)
    }
}

serialize_as_text!(Contestant);

fn profile(name: &str) -> Option<Profile> {
    Profile::ALL.into_iter().find(|profile| profile.name() == name)
}

/// A wait by name; `None` if it is none.
fn wait(name: &str) -> std::result::Result<Option<Wait>, String> {
    Ok(match name.split_once('=') {
        None if name == "epoll" => Some(Wait::Epoll),
        None if name == "spin" => Some(Wait::Spin),
        None if name == "adaptive" => Some(Wait::Adaptive(SPIN)),
        Some(("adaptive", spin)) => Some(Wait::Adaptive(parse_positive_duration(spin)?)),
        _ => None,
    })
}

impl FromStr for Contestant {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Contestant, String> {
        let mut words = text.split('@');
        let first = words.next().unwrap_or_default();
        let name = match profile(first) {
            Some(profile) => Name::Profile(profile),
            None => Name::Path(first.parse().map_err(|error| {
                format!("{error}; or a profile: {}", Profile::ALL.map(Profile::name).join(", "))
            })?),
        };
        let mut contestant = Contestant { name, profile: None, wait: None };
        for word in words {
            match (profile(word), wait(word)?) {
                (Some(profile), _) if is_path(name) && contestant.profile.is_none() => {
                    contestant.profile = Some(profile);
                }
                (None, Some(wait)) if contestant.wait.is_none() => contestant.wait = Some(wait),
                _ => {
                    return Err(format!(
                        "'@{word}' in '{text}': a path may have one profile (throughput, latency, \
                         balanced) and one wait (epoll, spin, adaptive, adaptive=TIME) behind it, a \
                         profile one wait"
                    ));
                }
            }
        }
        // What is the default anyway makes no other contestant.
        let by_default = contestant.profile.is_none() && is_path(name);
        contestant.wait = contestant.wait.filter(|wait| !(by_default && *wait == Wait::Epoll));
        Ok(contestant)
    }
}

fn is_path(name: Name) -> bool {
    matches!(name, Name::Path(_))
}

/// Several contestants, each once: names with commas; `all` stands for every preset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contestants(pub Vec<Contestant>);

impl FromStr for Contestants {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Contestants, String> {
        let mut found = Vec::new();
        for name in text.split(',').map(str::trim) {
            let named = match name {
                "all" => PathName::PRESETS.map(|(_, path)| Contestant::of(path)).to_vec(),
                name => vec![name.parse()?],
            };
            for contestant in named {
                if !found.contains(&contestant) {
                    found.push(contestant);
                }
            }
        }
        Ok(Contestants(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        let Contestants(contestants) = text.parse().unwrap();
        contestants.iter().map(Contestant::to_string).collect()
    }

    #[test]
    fn contestants_are_read_back_from_their_labels() {
        let text = "syscall,v2+mmsg,ring-v2@spin,ring-v2-xsk@adaptive,ring@adaptive=1.5us,latency,\
                    ring@latency,ring-v2@balanced@epoll,throughput@spin";
        let Contestants(contestants) = text.parse().unwrap();
        assert_eq!(contestants.len(), 9);
        for contestant in contestants {
            assert_eq!(contestant.to_string().parse(), Ok(contestant), "{contestant}");
        }
        assert_eq!(labels("ring-v2@epoll, v3+ring"), ["ring-v2", "ring"]);
        assert_eq!(
            labels("ring@spin@latency,latency@epoll"),
            ["ring@latency@spin", "latency@epoll"]
        );
    }

    #[test]
    fn all_means_every_preset_and_nobody_comes_twice() {
        let all = labels("ring-v2,all,ring-v2@spin,ring");
        assert_eq!(all.len(), PathName::PRESETS.len() + 1);
        assert_eq!((all[0].as_str(), all[1].as_str()), ("ring-v2", "syscall"));
    }

    #[test]
    fn what_is_unknown_is_answered_with_what_is_known() {
        let refuse = |text: &str| text.parse::<Contestants>().unwrap_err();
        assert!(refuse("ring@fast").contains("adaptive=TIME"));
        assert!(refuse("rings@spin").contains("ring-v2-xsk"));
        assert!(refuse("latent").contains("latency"));
        assert!(refuse("ring@adaptive=0us").contains("longer than zero"));
        for twice in
            ["ring@spin=5us", "ring@spin@epoll", "latency@balanced", "ring@latency@latency"]
        {
            assert!(refuse(twice).contains("one wait"), "{twice}");
        }
        assert!(refuse("ring,,mmsg").contains("unknown path ''"));
    }
}
