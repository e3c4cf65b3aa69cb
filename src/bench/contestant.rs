//! Who takes part in a comparison: a path and how its worker waits, as typed and as printed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::testbed::Testbed;
use crate::engine::config::{EngineConfig, PathName};
use crate::engine::wait::Wait;
use crate::units::parse_positive_duration;

/// An engine that takes part: typed and printed as `PATH`, `PATH@spin`, `PATH@adaptive=50us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contestant {
    /// The path.
    pub path: PathName,
    /// How its worker waits for frames.
    pub wait: Wait,
}

impl Contestant {
    /// What all others are measured against: the tutorial's path, asleep until a frame comes.
    pub const BASELINE: Contestant = Contestant::of(PathName::SYSCALL);

    /// `path` as it is by default.
    pub const fn of(path: PathName) -> Contestant {
        Contestant { path, wait: Wait::Epoll }
    }

    /// An engine of this kind at the testbed's far end.
    pub fn engine_config(&self, testbed: &Testbed) -> EngineConfig {
        EngineConfig {
            namespace: Some(testbed.engine.namespace.clone()),
            path: self.path,
            wait: self.wait,
            force: testbed.force,
            ..EngineConfig::new(&testbed.engine.link.name)
        }
    }
}

/// How long `@adaptive` looks at the ring before it sleeps, where nothing else is said.
const ADAPTIVE_SPIN: Duration = Duration::from_micros(50);

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path;
        match self.wait {
            Wait::Epoll => path.fmt(f),
            Wait::Adaptive(spin) if spin != ADAPTIVE_SPIN => {
                f.pad(&format!("{path}@adaptive={spin:?}"))
            }
            wait => f.pad(&format!("{path}@{}", wait.name())),
        }
    }
}

impl Serialize for Contestant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Contestant {
    type Err = String;

    fn from_str(text: &str) -> Result<Contestant, String> {
        let Some((path, wait)) = text.split_once('@') else {
            return Ok(Contestant::of(text.parse()?));
        };
        let wait = match wait.split_once('=') {
            None if wait == "epoll" => Wait::Epoll,
            None if wait == "spin" => Wait::Spin,
            None if wait == "adaptive" => Wait::Adaptive(ADAPTIVE_SPIN),
            Some(("adaptive", spin)) => Wait::Adaptive(parse_positive_duration(spin)?),
            _ => {
                return Err(format!(
                    "unknown wait '{wait}' in '{text}': epoll, spin, adaptive, or adaptive=TIME"
                ));
            }
        };
        Ok(Contestant { path: path.parse()?, wait })
    }
}

/// Several contestants, each once: names with commas; `all` stands for every preset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contestants(pub Vec<Contestant>);

impl FromStr for Contestants {
    type Err = String;

    fn from_str(text: &str) -> Result<Contestants, String> {
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
        let text = "syscall,v2+mmsg,ring-v2@spin,ring-v2-xsk@adaptive,ring@adaptive=1.5us";
        let Contestants(contestants) = text.parse().unwrap();
        for contestant in contestants {
            assert_eq!(contestant.to_string().parse(), Ok(contestant), "{contestant}");
        }
        assert_eq!(labels("ring-v2@epoll, v3+ring"), ["ring-v2", "ring"]);
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
        assert!(refuse("ring@adaptive=0us").contains("longer than zero"));
        assert!(refuse("ring@spin=5us").contains("unknown wait"));
        assert!(refuse("ring,,mmsg").contains("unknown path ''"));
    }
}
