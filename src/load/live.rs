//! TX half `live`: a BPF program writes the frames in the kernel, each with its number, and the driver takes them
//! from there (`ndo_xdp_xmit`). We only say how many, from which number on, of which sizes and flows.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::half::TxHalf;
use super::plan::LoadSpec;
use super::run_id::RunId;
use super::template::{HEADER_BYTES_MAX, NextFrame, Template};

use crate::error::{Error, Result};
use crate::ring::slots::Settled;
use crate::sys::bpf::live::{self, LIVE_BYTES_MAX, LiveProgram, ProgramMemory};
use crate::wire::probe::{SEQUENCE_BITS, SEQUENCE_MAX};

mod layout;
mod program;

use layout::{BEGIN, FIELDS, Layout, PLACE, ROOM, STAMPED, STAMPS, put, slot};
use program::FrameProgram;

/// TX half `live`.
#[derive(Debug)]
pub struct TxLive {
    program: LiveProgram,
    template: Arc<Template>,
    /// What pages begin as: as long as the longest frame.
    blank: Box<[u8]>,
    /// Bytes of a frame of each form.
    lengths: Box<[usize]>,
    every: u64,
    has_slots: bool,
    /// Where the mark of a flow stands, and its bytes; `None` where all frames are of one flow.
    mark: Option<(usize, usize)>,
    /// The load, and the number of the first frame that was put.
    first: (RunId, u64),
    /// Frames put, and those of them that left; both begin again once all left.
    put: usize,
    left: usize,
    settled: Settled,
    /// The place of the first frame of the last settling.
    settled_from: usize,
}

impl TxLive {
    /// For one of `every` senders over the configured interface. A usage error where the interface takes no such
    /// frames; EPERM without the privileges of [`NEEDS_BPF`](crate::sys::bpf::NEEDS_BPF).
    pub fn open(config: &LoadSpec, template: &Arc<Template>) -> Result<TxLive> {
        live::check_driver("live", config.interface)?;
        TxLive::program(config, template)
    }

    fn program(config: &LoadSpec, template: &Arc<Template>) -> Result<TxLive> {
        let (interface, every) = (config.interface, config.threads.senders() as u64);
        let mark = (template.flows().count() > 1).then(|| template.flows().mark_place());
        let layout = Layout::new(template, every);
        let made = FrameProgram { layout, interface, every, mark };
        if layout.longest > LIVE_BYTES_MAX {
            return Err(Error::Usage(format!(
                "--tx live: frames of {} bytes without FCS do not fit a memory page: at most {LIVE_BYTES_MAX}",
                layout.longest,
            )));
        }
        let memory = ProgramMemory::create(layout.end)?;
        let instructions = made.assemble(memory.as_fd());
        let mut program = LiveProgram::load(&instructions, memory)?;
        layout.fill(program.memory(), template);
        let blank = vec![0; layout.longest].into_boxed_slice();
        program.check(&blank)?;
        Ok(TxLive {
            program,
            template: Arc::clone(template),
            blank,
            lengths: template.forms().map(|(bytes, ..)| bytes).collect(),
            every,
            has_slots: made.has_slots(),
            mark,
            first: (RunId::new(0, 0), 0),
            put: 0,
            left: 0,
            settled: Settled::default(),
            settled_from: 0,
        })
    }

    /// Says which form and flow the frame at `place` is of.
    #[inline]
    fn describe(&mut self, place: usize, number: u64) {
        let form = self.template.form_of(number) as u32;
        let flows = self.template.flows();
        let mut header = [0; HEADER_BYTES_MAX];
        let mark = self.mark.map_or(0, |(at, bytes)| {
            flows.mark_sent(&mut header, flows.of(number));
            match header[at..at + 4] {
                [a, b, ..] if bytes == 2 => u16::from_ne_bytes([a, b]).into(),
                [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
                _ => 0,
            }
        });
        let slot = &mut self.program.memory()[slot(place)];
        slot[..4].copy_from_slice(&form.to_ne_bytes());
        slot[4..].copy_from_slice(&mark.to_ne_bytes());
    }

    /// Has `frames` frames made from the first waiting one on, and counts those that were.
    #[inline]
    fn make(&mut self, frames: usize, number: u64) -> io::Result<()> {
        let (id, probe) = (self.first.0, self.first.0.probe(number));
        let fields = u64::from(probe.run()) << SEQUENCE_BITS | probe.sequence();
        let begin = self.template.cycle_begins(id, number) as u32;
        let memory = self.program.memory();
        put(memory, FIELDS, &fields.to_ne_bytes());
        put(memory, BEGIN, &begin.to_ne_bytes());
        put(memory, PLACE, &(self.left as u32).to_ne_bytes());
        let ran = self.program.run(&self.blank, frames as u32);
        let memory = self.program.memory();
        let place = word(memory, PLACE) as usize;
        self.settled.frames += (place - self.left) as u64;
        self.settled.bytes += match &*self.lengths {
            [only] => ((place - self.left) * only) as u64,
            lengths => {
                let form = |place| word(memory, slot(place).start) as usize;
                (self.left..place).map(|place| lengths[form(place)] as u64).sum()
            }
        };
        self.left = place;
        ran
    }
}

fn word(memory: &[u8], at: usize) -> u32 {
    memory[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

impl TxHalf for TxLive {
    #[inline]
    fn put(&mut self, frame: NextFrame<'_>) -> bool {
        if self.put == self.left {
            (self.put, self.left) = (0, 0);
            self.first = (frame.id, frame.number);
        }
        if self.put == ROOM {
            return false;
        }
        if self.has_slots {
            self.describe(self.put, frame.number);
        }
        self.put += 1;
        true
    }

    /// A signal ends it early, and the rest waits for the next kick.
    #[inline]
    fn kick(&mut self) -> io::Result<()> {
        while self.left < self.put {
            let number = self.first.1 + self.left as u64 * self.every;
            // The program does not know where sequences begin again.
            let before_end = (SEQUENCE_MAX - self.first.0.probe(number).sequence()) / self.every;
            let waiting = self.put - self.left;
            let frames = waiting.min(usize::try_from(before_end).unwrap_or(waiting) + 1);
            let left = self.left + frames;
            self.make(frames, number)?;
            if self.left < left {
                break;
            }
        }
        Ok(())
    }

    #[inline]
    fn settle(&mut self) -> Settled {
        self.settled_from = self.left.saturating_sub(self.settled.frames as usize);
        std::mem::take(&mut self.settled)
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        (self.put - self.left) as u64
    }

    fn withdraw(&mut self) {
        self.put = self.left;
    }

    fn frame_bytes_max(&self) -> usize {
        self.blank.len()
    }

    /// The program looked at the clock for the first of each 16 frames.
    #[inline]
    fn left_ns(&mut self, nth: u64) -> Option<u64> {
        let stamp = (self.settled_from + nth as usize) / STAMPED;
        let bytes = self.program.memory()[STAMPS + 8 * stamp..].first_chunk()?;
        Some(u64::from_ne_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests;
