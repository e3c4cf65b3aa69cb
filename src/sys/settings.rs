//! The settings of an interface and of the machine that decide what a frame costs: read, compared, and put
//! back as they were. Reading takes no privilege; what may not be read is left out.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, read_dir};

use super::ethtool_settings::STRUCTURES;
use super::interface_files::Reception;
use super::link::Links;
use super::offload::Ethtool;
use super::reading::text_of;
use crate::error::Result;

/// Where a setting is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// A feature, by the name of `ethtool -k`.
    Feature(String),
    Mtu,
    /// A word of one of [`STRUCTURES`].
    Word(usize, usize),
    /// A file that can be read and written.
    File(String),
    /// How the device stamps frames: transmit type and receive filter.
    Stamps,
    /// The hardware address.
    Address,
    /// Whether it is switched on. The last, so that it comes up as it was.
    Switch,
}

/// Whose settings.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Interface(String),
    Machine,
    /// Nobody's but these files'.
    Files,
    /// An interface's stamps alone.
    Stamps(String),
}

/// Settings at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    owner: Owner,
    values: BTreeMap<Place, String>,
}

/// One that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// The interface, unless it is the machine's.
    pub interface: Option<String>,
    /// What: `rx-gro`, `MTU`, `rx-usecs`, a file.
    pub setting: String,
    /// Its value before; `none` where it was not there.
    pub before: String,
    /// Its value afterwards.
    pub after: String,
}

/// What is looked at, for people.
pub const LOOKED_AT: &str = "features, MTU, address, up or down, rings, channels, coalescing, pause frames and stamps of both \
     interfaces, their files in /proc/sys/net/ipv4/conf, /proc/sys/net/ipv6/conf and /sys/class/net, \
     /proc/sys/net/core, CPU frequency governors";

impl Settings {
    /// Those of `interface`, in the network namespace of the calling thread.
    pub fn of(interface: &str) -> Result<Settings> {
        let (links, ethtool) = (Links::open()?, Ethtool::open()?);
        let link = links.by_name(interface)?;
        let mut values = BTreeMap::from([
            (Place::Mtu, link.mtu.to_string()),
            (Place::Address, link.mac.map(|byte| format!("{byte:02x}")).join(":")),
            (Place::Switch, if link.up { "up" } else { "down" }.into()),
        ]);
        for name in ethtool.features(interface).unwrap_or_default() {
            values.insert(Place::Feature(name), "on".into());
        }
        for (at, structure) in STRUCTURES.iter().enumerate() {
            let Ok(Some(words)) = ethtool.settings(interface, structure) else { continue };
            for (word, _) in structure.named() {
                values.insert(Place::Word(at, word), words[word].to_string());
            }
        }
        values.extend(Settings::of_stamps(interface).values);
        let mut settings = Settings { owner: Owner::Interface(interface.into()), values };
        for family in ["ipv4", "ipv6"] {
            // The MTU there is the interface's own.
            let folder = format!("/proc/sys/net/{family}/conf/{interface}");
            settings.read_folder(&folder, |name| name != "mtu");
        }
        if Reception::of(&link).is_ok() {
            let folder = format!("/sys/class/net/{interface}");
            let names = ["gro_flush_timeout", "napi_defer_hard_irqs", "threaded"];
            settings.read_folder(&folder, |name| names.contains(&name));
            for queue in read_dir(format!("{folder}/queues")).into_iter().flatten().flatten() {
                let is_mask = |name: &str| name.ends_with("ps_cpus") || name == "rps_flow_cnt";
                settings.read_folder(&queue.path().to_string_lossy(), is_mask);
            }
        }
        Ok(settings)
    }

    /// The machine's, and its network namespace's of the calling thread.
    pub fn of_machine() -> Settings {
        let mut settings = Settings { owner: Owner::Machine, values: BTreeMap::new() };
        settings.read_folder("/proc/sys/net/core", |_| true);
        settings.read_folder("/proc/sys/net/ipv4/conf/all", |_| true);
        for cpu in read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten() {
            let folder = format!("{}/cpufreq", cpu.path().display());
            settings.read_folder(&folder, |name| name == "scaling_governor");
        }
        settings
    }

    /// How `interface` stamps frames, where its driver tells.
    pub fn of_stamps(interface: &str) -> Settings {
        let setting = Ethtool::open().ok().and_then(|it| it.stamp_setting(interface).ok());
        let value = |(transmit, filter)| (Place::Stamps, format!("{transmit} {filter}"));
        Settings {
            owner: Owner::Stamps(interface.into()),
            values: setting.map(value).into_iter().collect(),
        }
    }

    /// What these files say; those that cannot be read are left out.
    pub fn of_files(files: &[String]) -> Settings {
        let value = |file: &String| Some((Place::File(file.clone()), text_of(file).ok()?));
        Settings { owner: Owner::Files, values: files.iter().filter_map(value).collect() }
    }

    /// Whether a file is among them.
    pub fn has_file(&self, file: &str) -> bool {
        self.values.contains_key(&Place::File(file.into()))
    }

    /// The same ones as they are now; `None` where the interface has gone.
    fn again(&self) -> Option<Settings> {
        match &self.owner {
            Owner::Interface(name) => Settings::of(name).ok(),
            Owner::Machine => Some(Settings::of_machine()),
            Owner::Stamps(name) => Some(Settings::of_stamps(name)),
            Owner::Files => {
                let files: Vec<String> = self.values.keys().map(Place::to_string).collect();
                Some(Settings::of_files(&files))
            }
        }
    }

    fn read_folder(&mut self, folder: &str, is_wanted: impl Fn(&str) -> bool) {
        for file in read_dir(folder).into_iter().flatten().flatten() {
            let path = file.path().to_string_lossy().into_owned();
            if is_wanted(&file.file_name().to_string_lossy())
                && let Ok(value) = text_of(&path)
            {
                self.values.insert(Place::File(path), value);
            }
        }
    }

    /// Whose, unless the machine's.
    fn interface(&self) -> Option<&str> {
        match &self.owner {
            Owner::Interface(name) | Owner::Stamps(name) => Some(name),
            Owner::Machine | Owner::Files => None,
        }
    }

    /// Whether this is the name of a feature that is on.
    pub fn has_feature(&self, name: &str) -> bool {
        self.values.contains_key(&Place::Feature(name.into()))
    }

    /// What is other now than it was.
    pub fn changed(&self) -> Vec<Change> {
        self.again().map(|now| now.since(self)).unwrap_or_default()
    }

    /// What is other than it was in `before`.
    pub fn since(&self, before: &Settings) -> Vec<Change> {
        let places = self
            .values
            .keys()
            .chain(before.values.keys().filter(|place| !self.values.contains_key(place)));
        let value = |settings: &Settings, place: &Place| match (settings.values.get(place), place) {
            (Some(value), _) => value.clone(),
            (None, Place::Feature(_)) => "off".into(),
            (None, _) => "none".into(),
        };
        let differs = |place: &&Place| self.values.get(place) != before.values.get(place);
        let change = |place: &Place| Change {
            interface: self.interface().map(str::to_owned),
            setting: place.to_string(),
            before: value(before, place),
            after: value(self, place),
        };
        places.filter(differs).map(change).collect()
    }

    /// Puts back what is otherwise now. Needs the privilege that changing it took; what cannot be put back
    /// stays, for [`Settings::since`] to tell.
    pub fn put_back(&self) {
        // Twice, because some may be changed only after others: TSO needs transmit checksums.
        for _ in 0..2 {
            let Some(now) = self.again() else { return };
            self.put_back_from(&now);
        }
    }

    /// Puts back, once, what is otherwise in `now`, which was read before.
    pub fn put_back_from(&self, now: &Settings) {
        let places = self.values.keys().chain(now.values.keys());
        for place in places.filter(|at| self.values.get(at) != now.values.get(at)) {
            let _ = self.put_back_one(place);
        }
    }

    fn put_back_one(&self, place: &Place) -> Result<()> {
        let value = self.values.get(place);
        let number = || value.and_then(|value| value.parse().ok());
        let interface = self.interface().unwrap_or_default();
        let link = || -> Result<(Links, u32)> {
            let links = Links::open()?;
            let index = links.by_name(interface)?.index;
            Ok((links, index))
        };
        match (place, number()) {
            (Place::File(path), _) => {
                // A refusal shows in what is left.
                let _ = fs::write(path, value.map_or("", String::as_str));
            }
            (Place::Mtu, Some(mtu)) => {
                let (links, index) = link()?;
                links.set_mtu(index, mtu)?;
            }
            (Place::Address, _) => {
                let bytes = value.into_iter().flat_map(|value| value.split(':'));
                let bytes: Vec<u8> =
                    bytes.filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
                if let Ok(mac) = bytes.try_into() {
                    let (links, index) = link()?;
                    links.set_mac(index, mac)?;
                }
            }
            (Place::Switch, _) => {
                let (links, index) = link()?;
                links.set_up(index, value.is_some_and(|value| value == "up"))?;
            }
            (Place::Word(structure, word), Some(value)) => {
                let structure = &STRUCTURES[*structure];
                let _ = Ethtool::open()?.set_word(interface, structure, *word, value);
            }
            (Place::Stamps, _) => {
                let numbers = value.and_then(|value| value.split_once(' '));
                if let Some((Ok(transmit), Ok(filter))) =
                    numbers.map(|(transmit, filter)| (transmit.parse(), filter.parse()))
                {
                    let _ = Ethtool::open()?.set_stamp_setting(interface, (transmit, filter));
                }
            }
            (Place::Feature(name), _) => {
                let _ = Ethtool::open()?.set_feature(interface, name, value.is_some());
            }
            _ => {}
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Feature(name) | Place::File(name) => f.write_str(name),
            Place::Mtu => f.write_str("MTU"),
            Place::Stamps => f.write_str("hardware stamps (transmit type, receive filter)"),
            Place::Address => f.write_str("address"),
            Place::Switch => f.write_str("link"),
            Place::Word(structure, word) => f.write_str(STRUCTURES[*structure].names[*word - 1]),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { interface, setting, before, after } = self;
        let blank = if interface.is_some() { " " } else { "" };
        write!(f, "{}{blank}{setting} {before} → {after}", interface.as_deref().unwrap_or(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(values: &[(Place, &str)]) -> Settings {
        let values = values.iter().map(|(place, value)| (place.clone(), (*value).to_owned()));
        Settings { owner: Owner::Interface("eth7".into()), values: values.collect() }
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let gro = Place::Feature("rx-gro".into());
        let ring = Place::Word(0, 5);
        let before = settings(&[(gro, "on"), (Place::Mtu, "1500"), (ring.clone(), "512")]);
        let after = settings(&[(Place::Mtu, "9000"), (ring, "512")]);
        let words: Vec<String> = after.since(&before).iter().map(Change::to_string).collect();
        assert_eq!(words, ["eth7 MTU 1500 → 9000", "eth7 rx-gro on → off"]);
        assert_eq!(before.since(&before), []);
    }

    #[test]
    fn a_loopback_and_a_machine_can_be_read() {
        let loopback = Settings::of("lo").unwrap();
        assert!(loopback.values.contains_key(&Place::Mtu));
        assert_eq!(loopback.values.get(&Place::Feature("loopback".into())).unwrap(), "on");
        assert!(!Settings::of_machine().values.is_empty());
        assert!(Settings::of("no-such-link").is_err());
        assert_eq!(Settings::of("lo").unwrap().since(&loopback), []);
    }

    #[test]
    fn every_word_that_is_compared_has_a_name() {
        for structure in STRUCTURES {
            assert!(
                structure.named().all(|(word, name)| word < structure.words && !name.is_empty())
            );
            assert!(structure.named().count() > 2);
        }
    }
}
