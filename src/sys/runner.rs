//! A process that runs commands for the program, which has given up the rights to: those that change a
//! setting, and engines of another build. However the program ends, it puts back what was changed.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use serde::{Deserialize, Serialize};

use super::clock;
use super::failure::failed;
use super::namespace::{Namespace, thread_count};
use super::settings::{Change, Settings};
use crate::error::{Error, Result};

/// What the process shall know before it begins.
#[derive(Clone, Debug)]
pub struct RunnerPlan {
    /// Where commands run: the engine's namespace, and the generator's, which they may reach by
    /// [`Namespace::path`]. Requests give an index into these.
    pub places: Vec<(Namespace, Namespace)>,
    /// Settings of this namespace that are put back at the end, unless `restore` does.
    pub before: Vec<Settings>,
    /// A command that puts back what was changed.
    pub restore: Option<String>,
    /// A command that takes longer is ended.
    pub limit: Duration,
    /// Set by a signal: a command that runs is ended.
    pub stop: Arc<AtomicBool>,
}

/// Why putting back failed, if it did, and what is left changed.
pub type Restored = (Option<String>, Vec<Change>);

/// The process.
#[derive(Debug)]
pub struct Runner {
    socket: BufReader<UnixStream>,
    process: Pid,
    stop: Arc<AtomicBool>,
    /// Its last word, once it has ended.
    end: Option<Reply>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Run { place: usize, command: String },
    Start { place: usize, program: Vec<String>, speaks: bool },
    Write { file: String, value: String },
    HasEnded,
    Pause,
    Resume,
    Stop,
}

/// What came of a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Reply {
    /// Why it failed.
    failure: Option<String>,
    /// The process that was started, or still runs; else 0.
    process: i32,
    /// In the last one: what could not be put back.
    left: Option<Vec<Change>>,
}

impl Runner {
    /// Starts the process. Call it while there is one thread and the rights are there.
    pub fn start(plan: &RunnerPlan) -> Result<Runner> {
        let failed = |error: io::Error| failed("start the process that runs commands", &error, "");
        // A process is copied with one of its threads; those that were joined may take a moment to go.
        let deadline = Instant::now() + Duration::from_secs(30);
        while thread_count()? > 1 {
            assert!(Instant::now() < deadline, "a runner is started before other threads");
            clock::sleep(Duration::from_micros(100));
        }
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        socket.set_read_timeout(Some(LOOK_EVERY)).map_err(failed)?;
        // SAFETY: the program has one thread here, so that the child finds no lock held by another one;
        // it never returns from `serve`.
        match unsafe { libc::fork() } {
            0 => {
                drop(socket);
                let ended = catch_unwind(AssertUnwindSafe(|| serve(plan, theirs)));
                // SAFETY: it ends the process, and takes a number.
                unsafe { libc::_exit(i32::from(ended.is_err())) }
            }
            -1 => Err(failed(io::Error::last_os_error())),
            process => Ok(Runner {
                socket: BufReader::new(socket),
                process: Pid::from_raw(process),
                stop: Arc::clone(&plan.stop),
                end: None,
            }),
        }
    }

    /// Runs `command` by the shell in a place, to its end.
    pub fn run(&mut self, place: usize, command: &str) -> Result<()> {
        self.ask(&Request::Run { place, command: command.into() }).map(drop)
    }

    /// Starts a program that serves until it is stopped. It is paused as soon as it `speaks`, by its first
    /// output, or at once. Gives the number of its process. One at a time.
    pub fn start_program(
        &mut self,
        place: usize,
        program: Vec<String>,
        speaks: bool,
    ) -> Result<i32> {
        Ok(self.ask(&Request::Start { place, program, speaks })?.process)
    }

    /// Whether it has ended by itself; [`Runner::stop_program`] then says why.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.ask(&Request::HasEnded)?.process == 0)
    }

    /// Writes into a file, one of those that are put back.
    pub fn write(&mut self, file: &str, value: &str) -> Result<()> {
        self.ask(&Request::Write { file: file.into(), value: value.into() }).map(drop)
    }

    /// Pauses it.
    pub fn pause(&mut self) -> Result<()> {
        self.ask(&Request::Pause).map(drop)
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> Result<()> {
        self.ask(&Request::Resume).map(drop)
    }

    /// Ends it, as Ctrl-C does; an error if it had failed.
    pub fn stop_program(&mut self) -> Result<()> {
        self.ask(&Request::Stop).map(drop)
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        let word = serde_json::to_string(request).expect("plain values");
        // One that has gone answers nothing.
        let _ = self.socket.get_mut().write_all(format!("{word}\n").as_bytes());
        match self.answer(true) {
            Some(Reply { failure: Some(failure), .. }) => Err(Error::Run(failure)),
            Some(reply) => Ok(reply),
            None => Err(Error::Run("the process that runs commands has gone".into())),
        }
    }

    /// Waits for an answer; `None` if there will be none. If the program shall stop, it asks for no more.
    fn answer(&mut self, heeds_stop: bool) -> Option<Reply> {
        let mut word = String::new();
        loop {
            match self.socket.read_line(&mut word) {
                Ok(1..) => return serde_json::from_str(&word).ok(),
                Err(error) if may_go_on(&error) => {}
                _ => return None,
            }
            if heeds_stop && self.stop.load(Ordering::Relaxed) {
                self.finish();
                return None;
            }
        }
    }

    /// Has everything put back, and says why that failed, and what is left.
    pub fn finish(&mut self) -> Restored {
        if self.end.is_none() {
            let _ = self.socket.get_mut().shutdown(std::net::Shutdown::Write);
            // Those before the last one answer what was interrupted.
            let last = std::iter::from_fn(|| self.answer(false)).find(|reply| reply.left.is_some());
            let _ = waitpid(self.process, None);
            self.end = Some(last.unwrap_or_else(|| Reply {
                failure: Some("the process that puts settings back has gone".into()),
                ..Reply::default()
            }));
        }
        let Reply { failure, left, .. } = self.end.clone().unwrap_or_default();
        (failure, left.unwrap_or_default())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.finish();
    }
}

fn may_go_on(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// How often it is looked whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it is looked whether a command has ended.
const CHILD_EVERY_MS: i32 = 1;
/// How often it is looked whether an engine stands still.
const PAUSE_EVERY: Duration = Duration::from_micros(20);
/// What somebody else's program may take to end after a signal; then it is killed.
const FOREIGN_END: Duration = Duration::from_secs(1);
/// The most that is shown of what a command said.
const WORDS_MAX: usize = 600;

/// The life of the process.
fn serve(plan: &RunnerPlan, socket: UnixStream) {
    // What a terminal sends to the whole group is for the program, whose end is this one's.
    let _ = setsid();
    SIGNALS.into_iter().for_each(|signal| set_signal(signal, libc::SIG_IGN));
    detach();
    let mut program = None;
    let mut answers = match socket.try_clone() {
        Ok(answers) => answers,
        Err(_) => return,
    };
    let mut say = |reply: &Reply| {
        let word = serde_json::to_string(reply).expect("plain values");
        let _ = answers.write_all(format!("{word}\n").as_bytes());
    };
    let socket_number = socket.as_raw_fd();
    for word in BufReader::new(socket).lines().map_while(io::Result::ok) {
        let Ok(request) = serde_json::from_str(&word) else { break };
        let done = act(plan, &mut program, request, socket_number);
        say(&match done {
            Ok(process) => Reply { process, ..Reply::default() },
            Err(failure) => Reply { failure: Some(failure), ..Reply::default() },
        });
    }
    if let Some(Running { mut child, .. }) = program {
        let _ = child.kill();
        let _ = child.wait();
    }
    let restored = match &plan.restore {
        Some(command) => Running::shell(plan, 0, command)
            .and_then(|mut running| running.wait_until(false, plan.limit, None))
            .err(),
        None => {
            plan.before.iter().for_each(Settings::put_back);
            None
        }
    };
    let left = Some(plan.before.iter().flat_map(Settings::changed).collect());
    say(&Reply { failure: restored, left, process: 0 });
}

type Done<T> = std::result::Result<T, String>;

fn act(
    plan: &RunnerPlan,
    program: &mut Option<Running>,
    request: Request,
    socket: i32,
) -> Done<i32> {
    match request {
        Request::Run { place, command } => {
            Running::shell(plan, place, &command)?.wait_until(false, plan.limit, Some(socket))?;
        }
        Request::Start { place, program: words, speaks } => {
            let (first, rest) = words.split_first().ok_or("no program is named")?;
            let mut command = Command::new(first);
            command.args(rest);
            let mut started = Running::start(plan, place, command, first)?;
            match speaks {
                true => started.wait_until(true, plan.limit, Some(socket))?,
                false => started.is_foreign = true,
            }
            started.pause();
            let process = started.child.id() as i32;
            *program = Some(started);
            return Ok(process);
        }
        Request::Write { file, value } => {
            if !plan.before.iter().any(|settings| settings.has_file(&file)) {
                return Err(format!("nobody would put {file} back"));
            }
            fs::write(&file, &value).map_err(|error| {
                failed(format!("write {value} to {file}"), &error, "").to_string()
            })?;
        }
        Request::HasEnded => {
            return Ok(program.as_mut().map_or(0, |program| match program.child.try_wait() {
                Ok(None) => program.child.id() as i32,
                _ => 0,
            }));
        }
        Request::Pause => program.iter_mut().for_each(Running::pause),
        Request::Resume => program.iter_mut().for_each(Running::resume),
        Request::Stop => {
            let mut program = program.take().ok_or("nothing runs")?;
            program.send(libc::SIGINT);
            program.resume();
            match program.is_foreign {
                // Some do not heed a signal. What they do at their end is their affair.
                true => drop(program.wait_until(false, FOREIGN_END, Some(socket))),
                false => program.wait_until(false, plan.limit, Some(socket))?,
            }
        }
    }
    Ok(0)
}

/// A command under way, in a process group of its own.
struct Running {
    child: Child,
    called: String,
    out: File,
    err: File,
    paused: bool,
    /// Somebody else's program.
    is_foreign: bool,
}

impl Running {
    fn shell(plan: &RunnerPlan, place: usize, line: &str) -> Done<Running> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(line);
        Running::start(plan, place, command, line)
    }

    fn start(plan: &RunnerPlan, place: usize, mut command: Command, called: &str) -> Done<Running> {
        let failed = |error: io::Error| format!("could not start '{called}': {error}");
        let (out, err) = (memory_file().map_err(failed)?, memory_file().map_err(failed)?);
        command.stdin(Stdio::null()).process_group(0);
        command.stdout(out.try_clone().map_err(failed)?).stderr(err.try_clone().map_err(failed)?);
        let (engine, generator) = plan.places[place].clone();
        let here = Namespace::current().is_ok_and(|here| here == engine);
        let prepare = move || {
            SIGNALS.into_iter().for_each(|signal| set_signal(signal, libc::SIG_DFL));
            end_with_parent();
            // The command can enter the generator's namespace by this descriptor.
            keep_open(generator.descriptor())?;
            if !here {
                setns(engine.descriptor(), CloneFlags::CLONE_NEWNET)?;
            }
            Ok(())
        };
        // SAFETY: this process has one thread, and what runs between fork and exec only makes system
        // calls on descriptors that live until then.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn().map_err(failed)?;
        Ok(Running { child, called: called.into(), out, err, paused: false, is_foreign: false })
    }

    /// Waits for a good end, or until it has `spoken` first; at most for `limit`, and until somebody says
    /// something on `socket` or hangs up there.
    fn wait_until(&mut self, spoken: bool, limit: Duration, socket: Option<i32>) -> Done<()> {
        let deadline = Instant::now() + limit;
        let failure = loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() && !spoken => return Ok(()),
                Ok(Some(status)) => break ended_as(status),
                Err(error) => break error.to_string(),
                Ok(None) if spoken && self.out.metadata().is_ok_and(|file| file.len() > 0) => {
                    return Ok(());
                }
                Ok(None) if Instant::now() >= deadline => {
                    break format!("it took longer than {limit:?} and was ended");
                }
                Ok(None) if has_word(socket, CHILD_EVERY_MS) => break "interrupted".into(),
                Ok(None) => {}
            }
        };
        self.send(libc::SIGKILL);
        let _ = self.child.wait();
        Err(self.failure(&failure))
    }

    /// Stops it, and waits until it stands still. Why one has ended by itself is asked for at the end.
    fn pause(&mut self) {
        if self.paused || !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.paused = true;
        self.send(libc::SIGSTOP);
        let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG;
        while let Ok(WaitStatus::StillAlive) = waitpid(self.number(), Some(flags)) {
            clock::sleep(PAUSE_EVERY);
        }
    }

    fn resume(&mut self) {
        self.paused = false;
        self.send(libc::SIGCONT);
    }

    fn number(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Sends a signal to it and to all that it has started.
    fn send(&self, signal: i32) {
        // SAFETY: kill(2) takes two numbers. The group is that of a child which has not been waited for,
        // or has just ended: its number is not used again while a process of the group lives.
        unsafe { libc::kill(-self.number().as_raw(), signal) };
    }

    /// `'ip link …' failed: it ended with 1: RTNETLINK answers: …`.
    fn failure(&mut self, what: &str) -> String {
        let mut words = Vec::new();
        let _ = self.err.rewind();
        let _ = (&self.err).take(WORDS_MAX as u64).read_to_end(&mut words);
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        let colon = if words.is_empty() { "" } else { ": " };
        format!("'{}' failed: {what}{colon}{words}", self.called)
    }
}

fn ended_as(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        _ => status.to_string(),
    }
}

/// What a terminal or a user sends.
const SIGNALS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

fn set_signal(signal: i32, action: libc::sighandler_t) {
    // SAFETY: no handler is set that could run.
    unsafe { libc::signal(signal, action) };
}

/// Has the kernel end this process when the one that started it dies, unless it becomes another user.
fn end_with_parent() {
    // SAFETY: prctl(2) takes numbers here and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

/// Lets programs that are started have the descriptor.
fn keep_open(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: fcntl(2) sets the flags of a descriptor that is open, and touches no memory.
    match unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFD, 0) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whoever reads the program's output waits for nobody else.
fn detach() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for standard in 0..3 {
            // SAFETY: both are numbers of open descriptors; nobody here uses the standard streams.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
    }
}

/// A file in memory: whoever writes to it never waits for a reader.
fn memory_file() -> io::Result<File> {
    // SAFETY: the name ends with a NUL, and is only read.
    let number = unsafe { libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC) };
    match number {
        ..0 => Err(io::Error::last_os_error()),
        // SAFETY: memfd_create(2) just returned this descriptor, so nothing else owns it.
        number => Ok(unsafe { File::from_raw_fd(number) }),
    }
}

/// Waits for a word on the socket, or for its end.
fn has_word(socket: Option<i32>, timeout_ms: i32) -> bool {
    let mut wanted = libc::pollfd { fd: socket.unwrap_or(-1), events: libc::POLLIN, revents: 0 };
    // SAFETY: poll(2) reads and writes one pollfd, a live local; a negative descriptor is skipped.
    unsafe { libc::poll(&raw mut wanted, 1, timeout_ms) > 0 }
}
