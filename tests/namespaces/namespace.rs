//! Network and user namespaces.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::Failed;
use linerate::lab::{Lab, LabConfig};
use linerate::sys::link::Links;
use linerate::sys::namespace::{Namespace, enter_user_namespace};
use linerate::sys::privilege::Capabilities;

use crate::check::{Test, test};
use crate::parts::Part;

pub fn tests() -> Vec<Test> {
    vec![
        test("namespace: a fresh one has nothing but a loopback that is down", fresh),
        test("namespace: work runs inside, the caller stays outside", inside),
        test("namespace: entering it moves this thread only", entering),
        test("namespace: a panic inside continues in the caller", panics),
        test("namespace: a user namespace gives what the lab needs", || Part::UserNamespace.run()),
        test("namespace: the setting that forbids user namespaces is named", || {
            Part::ForbiddenUserNamespace.run()
        }),
    ]
}

fn fresh() -> Result<(), Failed> {
    let namespace = Namespace::create()?;
    let links = Links::open_in(&namespace)?.list()?;
    // Modules such as ip_tunnel or ifb may add interfaces of their own, which are down, too.
    assert!(links.iter().any(|link| link.loopback && link.name == "lo"), "{links:?}");
    assert!(links.iter().all(|link| !link.up), "{links:?}");
    Ok(())
}

fn inside() -> Result<(), Failed> {
    let outside = Namespace::current()?;
    let namespace = Namespace::create()?;
    assert_ne!(namespace, outside);
    assert_eq!(namespace.run(Namespace::current)??, namespace);
    assert_eq!(Namespace::current()?, outside);
    assert_eq!(namespace.clone(), namespace);
    assert_ne!(Namespace::create()?, namespace);
    Ok(())
}

fn entering() -> Result<(), Failed> {
    let outside = Namespace::current()?;
    let namespace = Namespace::create()?;
    let seen = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                namespace.enter()?;
                Namespace::current()
            })
            .join()
            .expect("the thread does not panic")
    })?;
    assert_eq!(seen, namespace);
    assert_eq!(Namespace::current()?, outside);
    Ok(())
}

fn panics() -> Result<(), Failed> {
    let namespace = Namespace::create()?;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        // resume_unwind, unlike panic!, writes nothing to stderr.
        namespace.run(|| std::panic::resume_unwind(Box::new("as expected")))
    }));
    let payload = panic.err().ok_or("the panic was swallowed")?;
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"as expected"));
    Ok(())
}

/// Part of a child.
pub fn in_a_user_namespace() -> Result<(), Failed> {
    let before = Namespace::current()?;
    enter_user_namespace()?;
    assert_ne!(Namespace::current()?, before);
    assert!(Capabilities::effective()?.missing_for_lab().is_empty());
    let lab = Lab::create(&LabConfig { addresses: true, ..Default::default() })?;
    assert!(lab.engine.link.running);
    Ok(())
}

/// Part of a child: the limit is a setting of each user namespace, so it can be set to 0 in a fresh
/// one without a trace on the machine.
pub fn in_a_forbidden_user_namespace() -> Result<(), Failed> {
    enter_user_namespace()?;
    std::fs::write("/proc/sys/user/max_user_namespaces", "0")?;
    let error = enter_user_namespace().err().ok_or("a forbidden user namespace was entered")?;
    let text = error.to_string();
    assert!(text.contains("ENOSPC"), "{text}");
    assert_eq!(error.exit_code(), 77);
    assert!(text.contains("user.max_user_namespaces") && text.contains("sudo"), "{text}");
    Ok(())
}
