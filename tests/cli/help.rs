//! `--help` and `--version`: enough to work from.

use clap::Command;
use linerate::engine::names::{PathName, RxName, TxName};

use crate::program::{linerate, run};

/// All commands with the words that lead to them.
fn commands() -> Vec<(Vec<String>, Command)> {
    fn collect(path: &[String], command: &Command, all: &mut Vec<(Vec<String>, Command)>) {
        all.push((path.to_vec(), command.clone()));
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            collect(&[path, &[inner.get_name().to_string()]].concat(), inner, all);
        }
    }
    let mut all = Vec::new();
    collect(&[], &linerate::cli::command(), &mut all);
    all
}

fn help(path: &[String]) -> String {
    let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let ended = run(&mut linerate(&words));
    ended.expect(0);
    assert_eq!(ended.err, "", "help goes to stdout");
    ended.out.clone()
}

#[test]
fn every_flag_of_every_command_is_in_its_help_and_explained() {
    let all = commands();
    assert!(all.len() >= 6, "linerate, echo, compare, tutorial, its server and its client");
    for (path, command) in all {
        let text = help(&path);
        for argument in command.get_arguments() {
            let Some(long) = argument.get_long() else { continue };
            assert!(text.contains(&format!("--{long}")), "{path:?} --{long}: {text}");
            if !matches!(long, "help" | "version") {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                let name: Vec<&str> = long.split('-').collect();
                let words = help.split_whitespace().map(str::to_lowercase);
                let more = words.filter(|word| !name.contains(&word.as_str())).count();
                assert!(more >= 2, "{path:?} --{long}: '{help}' says no more than the name");
            }
        }
        for inner in command.get_subcommands() {
            assert!(text.contains(inner.get_name()), "{path:?}: {text}");
        }
    }
}

#[test]
fn help_names_every_path_and_half() {
    for command in ["echo", "compare"] {
        let text = help(&[command.to_string()]);
        for words in ["TPACKET_V3", "TPACKET_V2", "recvfrom", "sendto", "VLAN"] {
            assert!(text.contains(words), "{command}: no '{words}' in {text}");
        }
        let presets = PathName::PRESETS.map(|(name, _)| name);
        let halves = RxName::ALL.map(RxName::name).into_iter().chain(TxName::ALL.map(TxName::name));
        for name in presets.into_iter().chain(halves) {
            let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '-'));
            assert!(words.any(|word| word == name), "{command}: no '{name}' in {text}");
        }
    }
}

#[test]
fn help_of_compare_says_what_is_measured_and_its_exit_codes() {
    let text = help(&["compare".to_string()]);
    for words in ["FCS", "64", "60", "veth", "drain", "77", "130"] {
        assert!(text.contains(words), "no '{words}' in {text}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let ended = run(&mut linerate(&["--version"]));
    ended.expect(0);
    assert_eq!(ended.out, format!("linerate {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn notes_below_the_options_fit_the_narrowest_common_terminal() {
    for (path, command) in commands() {
        let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in notes.lines() {
            assert!(line.chars().count() <= 80, "{path:?}: more than 80 columns: {line}");
        }
    }
}
