//! What the tests of every topic share.

use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed};
use linerate::engine::config::PathName;
use linerate::engine::names::{RxName, TxName};
use linerate::sys::bpf::SocketMap;

use crate::covering::chosen;

/// A test by name: it fails by an error or by a panic, as of an assertion.
pub struct Test {
    pub name: String,
    /// No other trial runs at the same time: for those that measure time or flood the kernel's queues,
    /// which all network namespaces share.
    pub alone: bool,
    pub run: Box<dyn FnOnce() -> Result<Completion, Failed> + Send>,
}

/// The usual way to make one: `test("topic: what holds", function)`.
pub fn test(
    name: impl Into<String>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Test {
    possible_test(name, || run().map(|()| Completion::Completed))
}

/// A test that says by [`impossible_here`] that this machine lacks what it needs.
pub fn possible_test(
    name: impl Into<String>,
    run: impl FnOnce() -> Result<Completion, Failed> + Send + 'static,
) -> Test {
    Test { name: name.into(), alone: false, run: Box::new(run) }
}

/// Keeps every other trial off while one of `tests` runs.
pub fn alone(mut tests: Vec<Test>) -> Vec<Test> {
    tests.iter_mut().for_each(|test| test.alone = true);
    tests
}

/// The test is ignored and says why; with `CI=true` it fails, so that no pipeline passes by testing
/// nothing.
pub fn impossible_here(reason: &str) -> Result<Completion, Failed> {
    if std::env::var_os("CI").is_some_and(|value| value == "true") {
        return Err(reason.into());
    }
    Ok(Completion::ignored_with(reason))
}

/// Whether the kernel is older than this version.
pub fn kernel_before(major: u32, minor: u32) -> Result<bool, Failed> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let (Some(Ok(ours)), Some(Ok(least))) = (numbers.next(), numbers.next()) else {
        return Err(format!("not a kernel release: {release}").into());
    };
    Ok((ours, least) < (major, minor))
}

/// One test of what every path must do.
pub type PathTest = (&'static str, fn(PathName) -> Result<(), Failed>);

/// The paths that the whole suite runs over: pairs with a name of their own.
pub const PATHS: [PathName; 8] = [
    PathName::RING,
    PathName::RING_V2,
    PathName::SYSCALL,
    PathName::RING_MMSG,
    PathName::MMSG,
    PathName::RING_XSK,
    PathName::RING_V2_XSK,
    PathName::XDP,
];

/// The tests for every path in [`PATHS`].
pub fn over_every_path(topic: &str, tests: &[PathTest]) -> Vec<Test> {
    over(topic, &PATHS, tests)
}

/// The tests for every path in [`PATHS`] whose frames come through the kernel's stack: for what an XDP
/// program leaves to the kernel, or never lets merge.
pub fn over_every_path_behind_the_stack(topic: &str, tests: &[PathTest]) -> Vec<Test> {
    let paths: Vec<_> = PATHS.into_iter().filter(|path| path.rx != RxName::Xsk).collect();
    over(topic, &paths, tests)
}

/// The tests for every pair of halves there is, for what may depend on the pair.
pub fn over_every_pair(topic: &str, tests: &[PathTest]) -> Vec<Test> {
    over(topic, &pairs(), tests)
}

/// Every pair of halves there is, but those with `bpf`: it does not hear what a link refuses, and has tests of its
/// own.
pub fn pairs() -> Vec<PathName> {
    PathName::all().filter(|path| path.tx != TxName::Bpf).collect()
}

/// The tests for some paths, of which each test runs over a [covering set](crate::covering).
pub fn over(topic: &str, paths: &[PathName], tests: &[PathTest]) -> Vec<Test> {
    let turns = tests.iter().zip(topic.len()..);
    turns
        .flat_map(|(&one, turn)| chosen(paths, turn).into_iter().map(move |path| (path, one)))
        .map(|(path, (name, run))| {
            test_of(path, format!("{topic}, {path}: {name}"), move || {
                run(path).map(|()| Completion::Completed)
            })
        })
        .collect()
}

/// A test of one path, possible where the path can be had.
pub fn test_of(
    path: PathName,
    name: impl Into<String>,
    run: impl FnOnce() -> Result<Completion, Failed> + Send + 'static,
) -> Test {
    possible_test(name, move || match obstacle(path) {
        None => run(),
        Some(reason) => impossible_here(&reason),
    })
}

/// Why a path cannot be had here: XDP programs need privileges that no user namespace gives. How such
/// a path is then refused is a trial of its own.
pub fn obstacle(path: PathName) -> Option<String> {
    let error = SocketMap::create(1).err().filter(|_| path.needs_program())?;
    Some(error.to_string())
}

/// How long a test waits for what must happen: the machine may be slow and may stand still for seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until `holds` says yes; fails with `what` when that takes longer than [`PATIENCE`].
pub fn eventually(
    what: &str,
    mut holds: impl FnMut() -> Result<bool, Failed>,
) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > deadline {
            return Err(format!("after {PATIENCE:?} still not: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
