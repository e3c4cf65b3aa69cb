//! What the tests of every topic share.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;

/// A test by name: it fails by an error or by a panic, as of an assertion.
pub struct Test {
    pub name: String,
    pub run: Box<dyn FnOnce() -> Result<(), Failed> + Send>,
}

/// The usual way to make one: `test("topic: what holds", function)`.
pub fn test(
    name: impl Into<String>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Test {
    Test { name: name.into(), run: Box::new(run) }
}

/// Asks again until `holds` says yes; fails with `what` when that takes longer than 10 s.
pub fn eventually(
    what: &str,
    mut holds: impl FnMut() -> Result<bool, Failed>,
) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds()? {
        if Instant::now() > deadline {
            return Err(format!("after 10 s still not: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
