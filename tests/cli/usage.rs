//! Command lines that make no sense end with code 2 and a message that names the value and what
//! would be valid; nothing was begun.

use crate::program::{Scratch, linerate, run};

/// Runs each line and looks for its words on stderr.
#[track_caller]
fn refused(lines: &[(&str, &[&str])]) {
    for (line, words) in lines {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let ended = run(&mut linerate(&arguments));
        ended.expect(2).says(words);
        assert_eq!(ended.out, "", "{line}");
    }
}

#[test]
fn unknown_words_are_named() {
    refused(&[
        ("frobnicate", &["frobnicate"]),
        ("echo --frobnicate", &["--frobnicate"]),
        ("compare --frobnicate", &["--frobnicate"]),
        ("tutorial server --frobnicate", &["--frobnicate"]),
        ("tutorial frobnicate", &["frobnicate"]),
        ("compare extra", &["extra"]),
        ("echo", &["--interface"]),
        ("compare -i lo", &["--dut-interface"]),
        ("compare --dut-interface lo", &["--interface"]),
        ("stress", &["--interface", "--lab"]),
        ("stress -i lo", &["--to"]),
        ("stress --lab --to 02:00:00:00:00:02", &["--to", "--lab"]),
        ("stress --lab --phases sweep,sleep", &["'sleep'", "many-flows"]),
        ("load --lab --csv -", &["--csv -", "--json"]),
        ("load --lab --json x.out --pcap x.out", &["--json", "--pcap", "x.out"]),
        ("stress --lab --flows 1", &["--flows"]),
        ("stress --lab --max-loss 2", &["--max-loss"]),
        ("stress --lab --max-loss -1", &["'-1'"]),
        ("stress --lab --rate -5", &["'-5'"]),
        ("stress --lab -d -5s", &["'-5s'", "ns", "us", "ms"]),
    ]);
}

#[test]
fn sizes_that_no_frame_has() {
    refused(&[
        ("compare --sizes 63", &["'63'", "64"]),
        ("compare --sizes 0", &["'0'", "64"]),
        ("compare --sizes -1", &["'-1'", "64"]),
        ("compare --sizes 64,big", &["'big'", "64"]),
        ("compare --sizes 64,,128", &["''", "64"]),
        ("compare --sizes 1518.5", &["'1518.5'"]),
        ("compare --sizes 99999999999999999999999", &["99999999999999999999999"]),
    ]);
}

#[test]
fn a_size_that_no_testbed_carries_names_the_largest() {
    let ended = run(&mut linerate(&["compare", "--sizes", "64,70000"]));
    // Without user namespaces the lack of privilege comes first.
    if ended.code != Some(77) {
        ended.expect(2).says(&["70000", "65553"]);
    }
}

#[test]
fn durations_and_counts() {
    refused(&[
        ("compare --trial-duration 0s", &["'0s'"]),
        ("compare --trial-duration 1ms", &["'1ms'", "20ms", "10m"]),
        ("compare --trial-duration 11m", &["'11m'", "20ms", "10m"]),
        ("compare --trial-duration 5x", &["'5x'", "ns", "us", "ms"]),
        ("compare --trial-duration -1s", &["'-1s'", "ns", "us", "ms"]),
        ("compare --trials 0", &["'0'", "1000"]),
        ("compare --trials -1", &["'-1'", "1000"]),
        ("echo -i lo -d 0", &["'0'"]),
        ("echo -i lo -d -5s", &["'-5s'", "ns", "us", "ms"]),
        ("echo -i lo -d soon", &["'soon'"]),
        ("echo -i lo --interval 1ms", &["'1ms'", "10ms", "1h"]),
        ("echo -i lo --tx-full 2s", &["'2s'", "1s"]),
        ("echo -i lo --block-timeout 1500us", &["'1500us'"]),
        ("echo -i lo --path ring --spin-us 5", &["--wait adaptive", "--wait epoll"]),
        ("echo -i lo --wait spin --spin-us 5", &["--wait adaptive", "--wait spin"]),
        ("echo -i lo --wait adaptive --spin-us 0", &["'0'", "1..=1000000"]),
        ("echo -i lo --wait busy", &["'busy'", "epoll", "spin", "adaptive"]),
        ("echo -i lo -n 0", &["'0'"]),
        ("echo -i lo -n 0.5", &["'0.5'"]),
        ("echo -i lo -n 1e3", &["'1e3'"]),
        ("echo -i lo --echo-unchanged -3", &["'-3'", "10k"]),
        ("tutorial client --interval 0s", &["'0s'"]),
    ]);
}

#[test]
fn lists_of_cpus() {
    refused(&[
        ("compare --cpus 3-1", &["'3-1'", "1-3"]),
        ("compare --cpus 0,x", &["'x'", "0-3"]),
        ("echo -i lo --cpus 1024", &["'1024'", "1023"]),
        ("echo -i lo --cpus 0-", &["''", "0-3"]),
        ("echo -i lo --cpus -1", &["'-1'", "0-3"]),
        ("echo -i lo -w 0", &["'0'", "256"]),
        ("echo -i lo -w 257", &["'257'", "256"]),
        ("echo -i lo -w -1", &["'-1'", "256"]),
    ]);
}

#[test]
fn names_of_paths_modes_and_types() {
    let paths: &[&str] = &["'magic'", "ring", "ring-v2", "v2+mmsg"];
    refused(&[
        ("echo -i lo --path magic", paths),
        ("echo -i lo --path magic", &["or auto"]),
        ("echo -i lo --profile fast", &["'fast'", "throughput", "latency", "balanced"]),
        ("compare --paths ring,magic", paths),
        ("compare --paths ring@magic", &["'@magic'", "epoll", "spin", "adaptive", "balanced"]),
        (
            "compare --loads magic",
            &["'magic'", "flood", "drain", "ping", "window", "light", "half", "scale"],
        ),
        ("compare --tx magic", &["'magic'", "ring", "mmsg", "send"]),
        ("echo -i lo --fanout magic", &["'magic'", "hash", "lb", "cpu", "rnd", "rollover", "qm"]),
        ("echo -i lo --transform magic", &["'magic'", "uppercase", "none"]),
        ("echo -i lo --latency magic", &["'magic'", "on", "sampled", "off"]),
        ("echo -i lo --reply magic", &["'magic'", "l2", "udp"]),
        ("echo -i lo --ethertype magic", &["'magic'", "0x88b5", "ipv6"]),
        ("echo -i lo --ethertype 0x10000", &["'0x10000'", "16-bit"]),
        ("echo -i lo --ring-memory 1TB", &["'1TB'", "KiB", "MiB", "GiB"]),
        ("tutorial client --to nobody", &["'nobody'", "02:00:00:00:00:01"]),
        ("tutorial server --socket stream", &["'stream'", "dgram", "raw"]),
        ("tutorial server --protocol tcp", &["'tcp'", "all", "pae", "udp"]),
    ]);
}

#[test]
fn ports() {
    refused(&[
        ("echo -i lo --reply udp --port 0", &["1..=65535"]),
        ("echo -i lo --reply udp --port 70000", &["70000", "1..=65535"]),
    ]);
}

#[test]
fn contradictions_are_explained() {
    refused(&[
        ("echo -i lo --force --ethertype arp", &["arp"]),
        ("echo -i lo --force --ethertype ip,arp", &["arp"]),
        ("echo -i lo --force --reply udp --ethertype pae", &["--reply udp", "ipv6"]),
        ("echo -i lo --force --path syscall --blocks 4", &["--blocks", "--rx v3", "syscall"]),
        ("echo -i lo --force --path ring-xsk --sndbuf 1MiB", &["--sndbuf", "--tx", "ring-xsk"]),
        ("echo -i lo --force --path v2+xsk --qdisc-bypass on", &["--qdisc-bypass", "ring-v2-xsk"]),
        ("echo -i lo --force --block-timeout 2ms", &["--block-timeout", "--rx v3", "ring-v2"]),
        ("compare -i lo --dut-interface lo", &["lo"]),
        ("echo -i lo --force --fanout hash", &["--fanout", "--workers"]),
        ("echo -i lo --force --fanout-flags rollover", &["--fanout", "--workers"]),
        ("load --lab --tx xsk --qdisc-bypass", &["--qdisc-bypass", "xsk"]),
        ("load --lab --senders queues", &["--senders queues", "number"]),
        ("echo -i lo --force -w many", &["many", "queues"]),
        ("echo -i lo --force --irq follow --cpus 0", &["--irq follow", "--cpus"]),
        ("echo -i lo --force --irq follow", &["--irq follow", "lo"]),
    ]);
}

#[test]
fn rings_that_the_kernel_would_refuse_name_the_rule_and_the_nearest_value() {
    refused(&[
        ("echo -i lo --force --block-size 5000", &["5000"]),
        ("echo -i lo --force --block-size 8MiB", &["8388608", "4194304"]),
        ("echo -i lo --force --blocks 1", &["2"]),
        ("echo -i lo --force --blocks 99999999999", &["99999999999", "524288"]),
        ("echo -i lo --batch 0", &["'0'", "1024"]),
        ("echo -i lo --batch 1025", &["'1025'", "1024"]),
        ("echo -i lo --max-frame 63", &["'63'", "64"]),
        ("echo -i lo --max-frame 99999", &["'99999'", "65557"]),
        ("echo -i lo --qdisc-bypass maybe", &["'maybe'", "on", "off"]),
        ("echo -i lo --sndbuf lots", &["'lots'"]),
        ("echo -i lo --rx ring", &["'ring'", "v3", "v2", "recv", "recvmsg", "mmsg"]),
        ("echo -i lo --tx v3", &["'v3'", "ring", "mmsg", "send"]),
        ("echo -i lo --tx-slots 8 --tx-blocks 2", &["--tx-slots", "--tx-blocks"]),
        ("echo -i lo --force --path ring --tx-blocks 0", &["2"]),
        ("echo -i lo --force --path ring --block-timeout 0ms", &["0 ms"]),
        ("echo -i lo --force --path ring --block-timeout 66s", &["66000", "65535"]),
        ("echo -i lo --force --path ring-v2 --frame-size 1000", &["1000", "16"]),
        ("echo -i lo --force --path ring-v2 --frame-size 0", &["0 B"]),
    ]);
}

#[test]
fn the_cap_on_ring_memory_names_what_is_asked_and_what_is_left() {
    refused(&[
        ("echo -i lo --force --path ring --blocks 4096", &["512 MiB", "256 MiB", "--ring-memory"]),
        ("echo -i lo --force --path ring --ring-memory 1MiB", &["4 MiB", "1 MiB", "--ring-memory"]),
    ]);
}

#[test]
fn an_interface_that_is_not_there_is_answered_with_those_that_are() {
    for line in [
        &["echo", "-i", "nowhere7"][..],
        &["compare", "-i", "nowhere7", "--dut-interface", "nowhere8"],
        &["tutorial", "server", "-i", "nowhere7"],
    ] {
        run(&mut linerate(line)).expect(1).says(&["nowhere7", "ENODEV", "lo"]);
    }
    run(&mut linerate(&["echo", "-i", ""])).expect(1).says(&["lo"]);
}

#[test]
fn loopback_is_refused_without_force() {
    run(&mut linerate(&["echo", "-i", "lo"])).expect(2).says(&["loopback", "--force", "compare"]);
}

#[test]
fn a_document_that_cannot_be_written_is_said_before_anything_runs() {
    let scratch = Scratch::new();
    let path = scratch.file("no/such/directory/result.json");
    let path = path.to_str().expect("a path of plain letters");
    for line in [&["compare", "--json", path][..], &["echo", "-i", "lo", "--json", path]] {
        let ended = run(&mut linerate(line));
        ended.expect(1).says(&[path, "ENOENT"]);
        assert_eq!(ended.out, "", "nothing was begun");
    }
}

/// A message that nobody reads is no reason to panic.
#[test]
fn an_error_into_a_closed_pipe_keeps_its_exit_code() {
    let mut command = linerate(&["echo", "-i", "nowhere7"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stderr(writer);
    assert_eq!(run(&mut command).code, Some(1));
}
