//! Command lines of `linerate load` that make no sense, and its help.

use crate::load::words;
use crate::program::{linerate, namespaces_allowed, run};

/// Runs each line and looks for its words on stderr.
#[track_caller]
fn refused(lines: &[(&str, &[&str])]) {
    for (line, said) in lines {
        let ended = run(&mut linerate(&[vec!["load"], words(line)].concat()));
        ended.expect(2).says(said);
        assert_eq!(ended.out, "", "{line}");
    }
}

/// As [`refused`], for what only shows when the lab is there: without user namespaces the lack of
/// privilege comes first.
#[track_caller]
fn refused_in_the_lab(lines: &[(&str, &[&str])]) {
    if namespaces_allowed() {
        refused(lines);
    }
}

#[test]
fn where_to_send_must_be_said_and_said_once() {
    let mac = "02:00:00:00:00:02";
    refused(&[
        ("", &["--interface", "--lab"]),
        ("-i lo", &["--to"]),
        (&format!("-i lo --lab --to {mac}"), &["--interface", "--lab"]),
        (&format!("--lab --to {mac}"), &["--lab", "--to"]),
        (&format!("-i lo --to {mac} --udp 4"), &["--interface", "--udp"]),
        (&format!("-i lo --to {mac} --path ring"), &["--to", "--path"]),
        ("-i lo --dut-interface lo --from 192.0.2.1", &["--from", "UDP"]),
        ("--lab --dut-interface lo", &["--lab", "--dut-interface"]),
        ("--lab --path ring", &["--lab", "--path"]),
        (&format!("-i lo --force --to {mac} --from 192.0.2.1"), &["--from", "UDP"]),
        ("--lab --from 192.0.2.1", &["--from", "--lab"]),
        (
            "--lab magic",
            &["'magic'", "syscall", "mmsg", "ring", "ring-v2", "throughput", "latency"],
        ),
        ("--lab ring@fast", &["'@fast'", "epoll", "spin", "adaptive"]),
        ("--lab --udp 5", &["'5'"]),
        ("-i lo --to nobody", &["'nobody'", "192.0.2.7:7777"]),
        ("-i lo --to 192.0.2.7", &["'192.0.2.7'"]),
        ("-i lo --to 192.0.2.7:0", &["'192.0.2.7:0'"]),
    ]);
}

#[test]
fn rates_and_loops() {
    let rates: &[&str] = &["800kpps", "2.5gbit", "100mbit-l1", "10%", "max"];
    for bad in ["fast", "-5k", "5kpp", "1e99", "5 parsecs", "gbit"] {
        let ended = run(&mut linerate(&["load", "--lab", "-r", bad]));
        ended.expect(2).says(rates).says(&[bad]);
    }
    refused(&[
        ("--lab -r 0", &["'0'"]),
        ("--lab --ping -r 5k", &["--ping", "--rate"]),
        ("--lab --window 4 -r 5k", &["--window", "--rate"]),
        ("--lab --ping --window 4", &["--ping", "--window"]),
        ("--lab --burst 4 --pattern poisson", &["--burst", "--pattern poisson"]),
        ("--lab --burst 4 --pattern constant", &["--burst", "--pattern constant"]),
        ("--lab --pattern burst", &["--pattern burst", "--burst N"]),
        ("--lab --burst 0", &["1..="]),
        ("--lab --ping --burst 4", &["--ping", "--burst"]),
        ("--lab --window 4 --pattern poisson", &["--window", "--pattern"]),
        ("--lab --pattern magic", &["'magic'", "constant", "poisson", "burst"]),
    ]);
    refused_in_the_lab(&[
        ("--lab -r 10%", &["10%"]),
        ("--lab -r max --pattern poisson", &["max"]),
        ("--lab -r max --burst 4", &["max"]),
        ("--lab --window 0", &["16384"]),
        ("--lab --window 16385", &["16384"]),
        ("--lab --window 4 --senders 2", &["one sender"]),
    ]);
}

#[test]
fn sizes_flows_and_tags() {
    let valid: &[&str] = &["64,512", "64-1518:64", "random:64-1518", "imix"];
    for bad in ["63", "imx", "imix7", "64,,128", "1518-64", "64-1518:0", "-64", "64.5", ""] {
        let ended = run(&mut linerate(&["load", "--lab", "-s", bad]));
        ended.expect(2).says(valid).says(&[bad]);
    }
    run(&mut linerate(&words("load --lab -s 63"))).says(&["64", "FCS"]);
    refused(&[
        ("--lab --flows 0", &["1..="]),
        ("--lab --udp 4 --source-port 0", &["1..=65535"]),
        ("--lab --vlan-id 4095", &["4095", "0..=4094"]),
        ("--lab --vlan-id -1", &["-1", "0..=4094"]),
        ("--lab --vlan-id 5 --qinq-id 4095", &["4095", "0..=4094"]),
        ("--lab --vlan-id 5 --vlan-pri 8", &["8", "0..=7"]),
        ("--lab --vlan-pri 3", &["--vlan-id"]),
        ("--lab --qinq-id 5", &["--vlan-id"]),
        ("--lab --ethertype magic", &["'magic'", "0x88b5"]),
    ]);
    refused_in_the_lab(&[
        ("--lab -s 70000", &["70000", "65553"]),
        // One tag, not two, and the smallest frame that it allows.
        ("--lab --ethertype 0x8100", &["VLAN tag"]),
        ("--lab --udp 6 --vlan-id 5", &["64-byte", "1 VLAN tag", "84"]),
        ("--lab --udp 6 --vlan-id 5 --qinq-id 6", &["2 VLAN tags", "88"]),
        ("--lab --udp 4 --flows 30000", &["30000", "65535"]),
        ("--lab --flows 70000", &["70000", "65536"]),
    ]);
}

#[test]
fn threads_halves_and_what_to_expect() {
    refused(&[
        ("--lab --senders 0", &["'0'", "64"]),
        ("--lab --senders 65", &["'65'", "64"]),
        ("--lab --cpus 3-1", &["'3-1'", "1-3"]),
        ("--lab --tx magic", &["'magic'", "xsk", "ring", "mmsg", "send"]),
        ("--lab --rx magic", &["'magic'", "v3", "v2", "recv"]),
        ("--lab --expect magic", &["'magic'", "uppercase", "same", "any"]),
        ("--lab --cpus 0,1,2", &["3", "--senders"]),
    ]);
    refused_in_the_lab(&[
        ("--lab --cpus 1023", &["1023"]),
        ("--lab --rx recv --vlan-id 5", &["recv", "VLAN", "v2", "v3"]),
        ("--lab --rx recv --breakdown", &["recv"]),
        ("--lab syscall --vlan-id 5", &["syscall", "VLAN", "ring-v2"]),
    ]);
}

#[test]
fn what_would_be_ignored_is_refused() {
    refused(&[
        ("--lab --udp 4 --ethertype 0x88b6", &["--ethertype", "UDP"]),
        ("-i lo --to 192.0.2.7:7 --ethertype 0x88b6", &["--ethertype", "UDP"]),
        ("--lab --source-port 5000", &["--source-port", "UDP"]),
        ("--lab --force", &["--force", "--lab"]),
    ]);
}

#[test]
fn times_counts_and_thresholds() {
    refused(&[
        ("--lab -d 0", &["'0'"]),
        ("--lab -d -5s", &["'-5s'", "ns", "us", "ms"]),
        ("--lab -d soon", &["'soon'"]),
        ("--lab -n 0", &["'0'"]),
        ("--lab -n 0.5", &["'0.5'"]),
        ("--lab --interval 0s", &["'0s'"]),
        ("--lab --late-after 0", &["'0'"]),
        ("--lab --max-loss 100%", &["'100%'", "0.1%"]),
        ("--lab --max-loss 1.5", &["'1.5'"]),
        ("--lab --max-loss -1", &["'-1'"]),
        ("--lab --max-p99 0", &["'0'"]),
        ("--lab --max-p99 fast", &["'fast'", "ns", "us", "ms"]),
    ]);
}

#[test]
fn interfaces_that_are_not_there_or_not_meant() {
    for to in ["02:00:00:00:00:02", "192.0.2.7:7777", "[2001:db8::2]:7777"] {
        let ended = run(&mut linerate(&["load", "-i", "nowhere7", "--to", to]));
        ended.expect(1).says(&["nowhere7", "ENODEV", "lo"]);
        let ended = run(&mut linerate(&["load", "-i", "lo", "--to", to]));
        ended.expect(2).says(&["loopback", "--force"]);
    }
}

#[test]
fn help_says_what_rates_sizes_and_exit_codes_there_are() {
    let ended = run(&mut linerate(&["load", "--help"]));
    ended.expect(0);
    for words in
        ["800kpps", "2.5gbit-l1", "10%", "64-1518:64", "imix", "FCS", "77", "130", "v3", "xsk"]
    {
        let text = ended.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "no '{words}' in {text}");
    }
}
