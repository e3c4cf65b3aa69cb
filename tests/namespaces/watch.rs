//! Changes of links, as they are reported.

use libtest_mimic::Failed;
use linerate::sys::link::{LinkEvent, LinkWatch};

use crate::check::{Test, eventually, test};
use crate::links::pair_with_mtu;

pub fn tests() -> Vec<Test> {
    vec![
        test("watch: down, up and deletion are seen", down_up_deleted),
        test("watch: nothing happens, nothing is reported", silence),
        test("watch: after an overrun every link is reported anew", overrun),
    ]
}

fn down_up_deleted() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    let mut watch = pair.far_namespace.run(LinkWatch::open)??;
    let index = pair.far.index;
    pair.there.set_up(index, true)?;
    pair.here.set_up(pair.near.index, true)?;
    let mut last = None;
    let mut follow = |what: &str, running: bool| {
        eventually(what, || {
            for event in watch.drain()? {
                match event {
                    LinkEvent::Changed(link) if link.index == index => last = Some(link),
                    LinkEvent::Changed(_) => {}
                    LinkEvent::Deleted { index } => panic!("interface {index} deleted"),
                }
            }
            Ok(last.as_ref().is_some_and(|link| link.up && link.running == running))
        })
    };
    follow("up is reported", true)?;
    pair.here.set_up(pair.near.index, false)?;
    follow("the lost carrier is reported", false)?;
    pair.here.set_up(pair.near.index, true)?;
    follow("the carrier is reported again", true)?;
    pair.here.delete(pair.near.index)?;
    eventually("the deletion is reported", || {
        Ok(watch.drain()?.contains(&LinkEvent::Deleted { index }))
    })
}

fn silence() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    let mut watch = pair.near_namespace.run(LinkWatch::open)??;
    assert_eq!(watch.drain()?, []);
    // What happens in another namespace is none of ours.
    pair.there.set_mtu(pair.far.index, 1400)?;
    assert_eq!(watch.drain()?, []);
    pair.here.set_mtu(pair.near.index, 1400)?;
    let events = watch.drain()?;
    assert!(
        matches!(events.last(), Some(LinkEvent::Changed(link)) if link.mtu == 1400),
        "{events:?}"
    );
    Ok(())
}

fn overrun() -> Result<(), Failed> {
    let pair = pair_with_mtu(1500)?;
    let mut watch = pair.near_namespace.run(LinkWatch::open)??;
    // Each change is a notification of more than a kilobyte; the socket holds some 200 KiB.
    for round in 0..2_000 {
        pair.here.set_mtu(pair.near.index, 1400 + round % 2)?;
    }
    pair.here.delete(pair.near.index)?;
    let events = watch.drain()?;
    assert!(events.len() < 2_000, "no overrun: {} events", events.len());
    // The last word about the link is true: no older news follows it.
    let index = pair.near.index;
    let last = events.iter().rfind(|event| match event {
        LinkEvent::Changed(link) => link.index == index,
        LinkEvent::Deleted { index: deleted } => *deleted == index,
    });
    assert_eq!(last, Some(&LinkEvent::Deleted { index }));
    let loopback = |event: &LinkEvent| matches!(event, LinkEvent::Changed(link) if link.loopback);
    assert!(events.iter().any(loopback), "not every link was reported anew");
    assert_eq!(watch.drain()?, []);
    Ok(())
}
