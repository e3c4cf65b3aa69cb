//! Parts that this binary plays when a test runs it again as a child process.

use std::process::{Command, ExitCode};

use libtest_mimic::Failed;

use crate::{disturbed, kernel_groups, namespace, queues, vanish, xsk};

const PART: &str = "LINERATE_TEST_PART";

/// What a child may be asked to do.
#[derive(Clone, Copy)]
pub enum Part {
    /// Make a testbed, say so, and hold it until killed.
    HoldALab,
    /// Enter a user namespace and make a testbed there.
    UserNamespace,
    /// Enter a user namespace where the system forbids it.
    ForbiddenUserNamespace,
    /// Enter a user namespace and use AF_XDP there.
    OrdinaryXsk,
    /// Search over a path whose worker dies.
    DyingWorker,
    /// Pin the interrupts of a made-up device, say so, and stay until killed.
    PinInterrupts,
    /// Join a fanout group, say so, and stay until killed.
    FanoutMember,
}

const ALL: [Part; 7] = [
    Part::HoldALab,
    Part::UserNamespace,
    Part::ForbiddenUserNamespace,
    Part::OrdinaryXsk,
    Part::DyingWorker,
    Part::PinInterrupts,
    Part::FanoutMember,
];

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::HoldALab => "hold-a-lab",
            Part::UserNamespace => "user-namespace",
            Part::ForbiddenUserNamespace => "forbidden-user-namespace",
            Part::OrdinaryXsk => "ordinary-xsk",
            Part::DyingWorker => "dying-worker",
            Part::PinInterrupts => "pin-interrupts",
            Part::FanoutMember => "fanout-member",
        }
    }

    fn play(self) -> Result<(), Failed> {
        match self {
            Part::HoldALab => vanish::hold_a_lab(),
            Part::UserNamespace => namespace::in_a_user_namespace(),
            Part::ForbiddenUserNamespace => namespace::in_a_forbidden_user_namespace(),
            Part::OrdinaryXsk => xsk::as_an_ordinary_user(),
            Part::DyingWorker => disturbed::search_with_a_dying_worker(),
            Part::PinInterrupts => queues::pin_interrupts(),
            Part::FanoutMember => kernel_groups::fanout_member(),
        }
    }

    /// This binary, with this part to play; it inherits the namespace of the calling thread.
    pub fn command(self) -> Result<Command, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(PART, self.name());
        Ok(command)
    }

    /// Plays the part in a child and fails with what the child says.
    pub fn run(self) -> Result<(), Failed> {
        let output = self.command()?.output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("the child ended with {}: {said}", output.status).into())
    }
}

/// Plays the part that the environment names, if it names one. Call it before anything else.
pub fn play() -> Option<ExitCode> {
    let name = std::env::var(PART).ok()?;
    let part = ALL.into_iter().find(|part| part.name() == name)?;
    Some(match part.play() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{}", failed.message().unwrap_or("no reason given"));
            ExitCode::FAILURE
        }
    })
}
