//! The rules fed with sources that break them: a rule that never fails holds nothing.

use crate::rules::{of_everybody, of_rooms};
use crate::source::Source;

fn in_room(path: &str, text: &str) -> Vec<String> {
    of_rooms(&Source::read(path, text))
}

fn anywhere(text: &str) -> Vec<String> {
    of_everybody(&Source::read("src/sys/some.rs", text))
}

#[test]
fn forbidden_imports_are_found_however_they_are_written() {
    let broken = [
        ("src/ring/a.rs", "use crate::engine::turn;"),
        ("src/ring/a.rs", "fn f() { crate::engine::turn::turn() }"),
        ("src/ring/a.rs", "use crate::{error::Error, engine};"),
        ("src/ring/a.rs", "use crate::{\n    sys::{clock, engine},\n    stats,\n};"),
        ("src/ring/a.rs", "use super::super::engine::half;"),
        ("src/ring/a/b.rs", "use super::super::super::engine::half;"),
        ("src/ring/mod.rs", "use super::engine;"),
        ("src/wire/a.rs", "use crate::sys::clock;"),
        ("src/stats/a.rs", "use crate::ring::tx;"),
        ("src/stats/mod.rs", "use crate::ring;"),
        ("src/engine/a.rs", "use crate::load::sender;"),
        ("src/load/a.rs", "use crate::engine::turn;"),
        ("program/bench/a.rs", "use crate::report::table;"),
        ("src/sys/a.rs", "use crate::wire::ethernet;"),
        ("src/units.rs", "use crate::sys::clock;"),
        ("program/main.rs", "use linerate::engine::pool;"),
        ("src/lab/a.rs", "use crate::engine::pool;"),
    ];
    for (path, text) in broken {
        assert_eq!(in_room(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn allowed_imports_are_not_found() {
    let fine = [
        ("src/ring/a.rs", "use crate::sys::packet; use crate::{error::Error, units, wire};"),
        ("src/ring/a.rs", "use super::super::sys::clock; use super::engine;"),
        ("src/ring/a/b.rs", "use super::super::engine_of_its_own;"),
        ("src/ring/a.rs", "// use crate::engine;\nconst A: &str = \"crate::engine::x\";"),
        ("src/ring/a.rs", "/* crate::engine::x /* nested */ crate::engine */ fn f() {}"),
        ("src/ring/a.rs", "const A: &str = r#\"\"crate::engine::x\"#; const B: char = '\"';"),
        ("src/ring/a.rs", "#[cfg(test)]\nmod tests { mod deep { use crate::engine; } }\nfn f() {}"),
        ("src/ring/a/tests.rs", "use crate::engine; use libc::tpacket2_hdr;"),
        ("program/cli/a.rs", "use crate::{bench, report, tutorial, engine}; use clap::Parser;"),
        ("program/main.rs", "use linerate::cli::Cli;"),
    ];
    for (path, text) in fine {
        assert_eq!(in_room(path, text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn what_follows_a_test_module_is_checked_again() {
    let text = "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::engine::turn;";
    assert_eq!(in_room("src/ring/a.rs", text).len(), 1);
    let text = "#[cfg(test)]\nmod tests;\nuse crate::engine::turn;";
    assert_eq!(in_room("src/ring/a.rs", text).len(), 1);
}

#[test]
fn a_room_without_a_row_in_the_table_is_found() {
    assert_eq!(in_room("src/attic/mod.rs", "").len(), 1);
    assert_eq!(in_room("src/attic.rs", "").len(), 1);
}

#[test]
fn crates_outside_of_their_rooms_are_found() {
    let broken = [
        ("src/engine/a.rs", "use libc::c_int;"),
        ("src/engine/a.rs", "fn f() -> libc::c_int { 0 }"),
        ("src/engine/a.rs", "fn f() -> ::libc::c_int { 0 }"),
        ("src/ring/a.rs", "use nix::sys::mman;"),
        ("src/lab/a.rs", "use signal_hook::flag;"),
        ("program/bench/a.rs", "use clap::ValueEnum;"),
        ("program/bench/a.rs", "use crossbeam_channel::bounded;"),
        ("program/bench/a.rs", "use comfy_table::Table;"),
    ];
    for (path, text) in broken {
        assert_eq!(in_room(path, text).len(), 1, "{path}: {text}");
    }
    let fine = "use crossbeam_channel::bounded; fn f() { let libc = 1; crate::sys::libc::f(libc) }";
    assert_eq!(in_room("src/engine/a.rs", fine), [""; 0]);
}

#[test]
fn printing_and_threads_in_the_wrong_room_are_found() {
    for text in ["println!(\"x\")", "eprintln!()", "print!(\"\")", "eprint!(\"\")", "io::stdout()"]
    {
        let text = format!("fn f() {{ {text}; }}");
        assert_eq!(in_room("src/engine/a.rs", &text).len(), 1, "{text}");
        assert_eq!(in_room("program/report/a.rs", &text), [""; 0]);
    }
    assert_eq!(in_room("program/report/a.rs", "fn f() { dbg!(1); }").len(), 1);
    assert_eq!(in_room("src/stats/a.rs", "use std::thread;").len(), 1);
    assert_eq!(in_room("src/wire/a.rs", "use std::sync::Arc;").len(), 1);
    assert_eq!(in_room("src/wire/a.rs", "use std::net::IpAddr; fn sync() {}"), [""; 0]);
}

#[test]
fn unsafe_in_the_wrong_place_is_found() {
    let text = "fn f() {\n    // SAFETY: none.\n    unsafe { g() }\n}";
    assert_eq!(in_room("src/engine/a.rs", text).len(), 1);
    assert_eq!(in_room("src/ring/tx.rs", text).len(), 1);
    assert_eq!(in_room("src/ring/view.rs", text), [""; 0]);
    assert_eq!(in_room("src/ring/view/queue.rs", text), [""; 0]);
    assert_eq!(in_room("src/sys/a.rs", text), [""; 0]);
}

#[test]
fn unsafe_without_a_reason_is_found() {
    let broken = [
        "fn f() {\n    unsafe { g() }\n}",
        "fn f() {\n    // Fast.\n    unsafe { g() }\n}",
        "// SAFETY: of something else.\nfn f() {\n    unsafe { g() }\n}",
        "// SAFETY: of the line below.\nlet a = 1;\nlet b = unsafe { g() };",
        "// SAFETY: far away.\n\nunsafe impl Send for A {}",
        "unsafe fn f() {}",
    ];
    for text in broken {
        assert_eq!(anywhere(text).len(), 1, "{text}");
    }
    let fine = [
        "fn f() {\n    // SAFETY: g is harmless.\n    unsafe { g() }\n}",
        "fn f() {\n    // SAFETY: g\n    // is harmless.\n    let x =\n        unsafe { g() };\n}",
        "// SAFETY: A is plain.\nunsafe impl Send for A {}",
        "/// Does.\n///\n/// # Safety\n///\n/// Never call it.\n#[inline]\npub unsafe fn f() {}",
        "// unsafe { is a word }\nconst A: &str = \"unsafe {\";",
    ];
    for text in fine {
        assert_eq!(anywhere(text), [""; 0], "{text}");
    }
}

#[test]
fn what_has_no_place_anywhere_is_found() {
    let fixme = ["FIX", "ME"].concat();
    let broken = [
        "fn f() { todo!() }".to_owned(),
        "fn f() { unimplemented!() }".to_owned(),
        "#[test]\n#[ignore = \"slow\"]\nfn f() {}".to_owned(),
        format!("// {fixme}: later"),
        "fn get_length() {}".to_owned(),
        "struct RingManager;".to_owned(),
        "mod utils {}".to_owned(),
        "fn f() {}\n".repeat(601),
    ];
    for text in broken {
        assert_eq!(anywhere(&text).len(), 1, "{text}");
    }
    assert_eq!(anywhere("fn f() { ignore(\"todo!()\") } // todo: no macro"), [""; 0]);
    assert_eq!(anywhere(&"fn f() {}\n".repeat(599)), [""; 0]);
}

#[test]
fn circles_are_found_however_they_are_written() {
    let circles = |files: &[(&str, &str)]| {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| Source::read(path, text)).collect();
        crate::circles::between(&sources).len()
    };
    let a = |text| ("src/ring/a.rs", text);
    let b = |text| ("src/ring/b.rs", text);
    let parent = |text| ("src/ring/mod.rs", text);
    assert_eq!(circles(&[a("use super::b::B;"), b("use crate::ring::a::A;")]), 1);
    assert_eq!(circles(&[a("use super::{b::{B, C}, c};"), b("fn f() { super::a::f() }")]), 1);
    assert_eq!(circles(&[a("use super::R;"), parent("mod a; use a::A;")]), 1);
    assert_eq!(circles(&[a("use super::R;"), parent("mod a; fn f() { a::f() }")]), 1);
    let three = ("src/sys/c.rs", "use crate::ring::a;");
    assert_eq!(circles(&[a("use super::b::B;"), b("use crate::sys::c::C;"), three]), 1);
    assert_eq!(circles(&[a("use super::b::B;"), b("use crate::sys::C; mod a;")]), 0);
    assert_eq!(circles(&[a("use super::R;"), parent("pub mod a; pub(super) use a::A;")]), 0);
    let tests = "#[cfg(test)]\nmod tests { use super::super::a::A; }";
    assert_eq!(circles(&[a("use super::b::B;"), b(tests)]), 0);
}
