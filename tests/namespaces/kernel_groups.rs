//! Fanout groups as the kernel keeps them: who may not join, by errno, and what is left when a member dies.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use libtest_mimic::Failed;
use linerate::lab::{ENGINE, Lab, LabConfig, Side};
use linerate::sys::filter::Wanted;
use linerate::sys::link::Links;
use linerate::sys::packet::{ALL_PROTOCOLS, FanoutMode, PacketSocket, SocketType};

use crate::check::{PATIENCE, Test, eventually, test};
use crate::client::{Client, EXPERIMENTAL, numbered};
use crate::parts::Part;

pub fn tests() -> Vec<Test> {
    vec![
        test("kernel: who may not join a fanout group is told by errno", errnos),
        test("kernel: a group goes on without a member that was killed", killed_member),
    ]
}

fn bound(side: &Side) -> Result<PacketSocket, Failed> {
    side.namespace.run(|| bound_here(side.link.index))?
}

fn bound_here(index: u32) -> Result<PacketSocket, Failed> {
    let socket = PacketSocket::open(SocketType::Raw)?;
    let wanted = Wanted { ether_types: vec![EXPERIMENTAL], tagged: false };
    socket.attach_filter(&wanted.program())?;
    socket.bind(index, ALL_PROTOCOLS)?;
    Ok(socket)
}

fn errnos() -> Result<(), Failed> {
    const MEMBERS_MAX: usize = 256;
    let lab = Lab::create(&LabConfig::default())?;
    let join = |socket: &PacketSocket, id, mode: FanoutMode, unique| {
        socket.join_fanout(id, mode.into(), unique).map_err(|error| error.raw_os_error())
    };
    let first = bound(&lab.engine)?;
    join(&first, 0, FanoutMode::LoadBalance, true).map_err(|errno| format!("{errno:?}"))?;
    let id = first.fanout_id()?;
    let stranger = bound(&lab.engine)?;
    assert_eq!(join(&stranger, id, FanoutMode::Hash, false), Err(Some(libc::EINVAL)), "its mode");
    let unbound = lab.engine.namespace.run(|| PacketSocket::open(SocketType::Raw))??;
    assert_eq!(join(&unbound, id, FanoutMode::LoadBalance, false), Err(Some(libc::EINVAL)));
    assert_eq!(join(&first, id, FanoutMode::LoadBalance, false), Err(Some(libc::EALREADY)));
    // An id is of the namespace: the other end's is another group.
    let elsewhere = bound(&lab.generator)?;
    assert_eq!(join(&elsewhere, id, FanoutMode::Hash, false), Ok(()));
    let mut members = vec![first];
    while members.len() < MEMBERS_MAX {
        let member = bound(&lab.engine)?;
        assert_eq!(join(&member, id, FanoutMode::LoadBalance, false), Ok(()), "{}", members.len());
        members.push(member);
    }
    assert_eq!(join(&stranger, id, FanoutMode::LoadBalance, false), Err(Some(libc::ENOSPC)));
    // A unique id is never that of a group that is there, even if that has id 0.
    let zero = bound(&lab.engine)?;
    assert_eq!(join(&zero, 0, FanoutMode::Cpu, false), Ok(()));
    assert_eq!(join(&stranger, 0, FanoutMode::LoadBalance, true), Ok(()));
    assert!(![0, id].contains(&stranger.fanout_id()?));
    Ok(())
}

/// The group of the processes of [`killed_member`].
const SHARED: u16 = 0x7e57;
const FRAMES: u32 = 90;

fn killed_member() -> Result<(), Failed> {
    let lab = Lab::create(&LabConfig::default())?;
    let members = [bound(&lab.engine)?, bound(&lab.engine)?];
    for member in &members {
        member.join_fanout(SHARED, FanoutMode::LoadBalance.into(), false)?;
    }
    // A child inherits the namespace of the thread that starts it.
    let mut child = lab.engine.namespace.run(|| -> Result<_, Failed> {
        Ok(Part::FanoutMember.command()?.stdout(Stdio::piped()).spawn()?)
    })??;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
    assert_eq!(line, "joined\n");
    let client = Client::open(&lab.generator)?;
    let frames: Vec<_> = (0..FRAMES).map(|number| numbered(number, 60)).collect();
    client.send_all(&frames)?;
    let received = received_by(&members, 2 * FRAMES as usize / 3);
    child.kill()?;
    child.wait()?;
    assert_eq!(received?, [FRAMES as usize / 3; 2], "the child has its third");
    client.send_all(&frames)?;
    assert_eq!(received_by(&members, FRAMES as usize)?, [FRAMES as usize / 2; 2]);
    Ok(())
}

/// Waits for `count` frames over all members.
fn received_by(members: &[PacketSocket; 2], count: usize) -> Result<[usize; 2], Failed> {
    let mut received = [0; 2];
    let mut buffer = [0; 100];
    eventually("the members have received the frames", || {
        for (member, received) in members.iter().zip(&mut received) {
            while member.receive(&mut buffer).is_ok() {
                *received += 1;
            }
        }
        Ok(received.iter().sum::<usize>() >= count)
    })?;
    Ok(received)
}

/// Part of a child: joins and holds until killed.
pub fn fanout_member() -> Result<(), Failed> {
    let member = bound_here(Links::open()?.by_name(ENGINE.interface)?.index)?;
    member.join_fanout(SHARED, FanoutMode::LoadBalance.into(), false)?;
    println!("joined");
    std::io::stdout().flush()?;
    std::thread::sleep(PATIENCE);
    Err("nobody killed me".into())
}
