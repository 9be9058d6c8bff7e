//! The start of a program: a new process, everything about it in place, then the program.

use std::{
    convert::Infallible,
    ffi::{CStr, CString, c_char, c_int, c_void},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicI32, Ordering},
};

use rustix::{
    io::Errno,
    process::{
        Pid, Resource, Rlimit, Signal, WaitOptions, fchdir, getpid, getppid, getrlimit, ioctl_tiocsctty,
        set_parent_process_death_signal, setrlimit, setsid, waitpid,
    },
};

use super::{
    confine::{Confinement, Executions},
    message::{Execution, Fault, Order, Step, StreamKind, Target},
    system::{Closing, connect, last_error, seal},
};
use crate::{config::JobLimits, script::Identity};

/// Stack of the new process until it executes its program, in bytes: it calls the system and little else.
const STACK_BYTES: usize = 64 * 1024;
/// Exit code of a process that did not get to execute its program; nobody asks for it.
const NOT_EXECUTED: c_int = 127;
/// No core dumps. It is 1 because for 0 the kernel would still hand them to a program (`core_pattern` with a `|`); 1 byte is too
/// short for a file and stops that too.
const CORE_BYTES: u64 = 1;
/// How long what used up its time may take to end after SIGXCPU, in seconds on a processor.
const LAST_CPU_S: u64 = 1;

/// Starts a program. The process leads a session and a group of its own, stands in the directory it was given, holds its three
/// streams and no other descriptor, blocks no signal, is limited in what it can use up and execute, and is killed when the calling
/// process ends. What signals do in it is as it is here, unless they are handled: then it is the default.
///
/// A binary is executed by its handle. What is executed by its path, an interpreted program, is looked at immediately before;
/// between that and the kernel's own look at the path lies the race that remains.
///
/// # Errors
///
/// The program was not executed, and no process is left of the attempt.
pub fn execute(order: &Order, handles: &[OwnedFd]) -> Result<Pid, Fault> {
    let [directory, stdin, stdout, stderr, rest @ ..] = handles else { return Err(Fault::Order) };
    let program = Program::of(&order.execution, rest)?;
    let (args, env) = (pointers(&order.execution.args), pointers(&order.execution.env));
    let streams = [stdin, stdout, stderr].map(AsFd::as_fd);
    let start = Start {
        program,
        args,
        env,
        directory: directory.as_fd(),
        streams,
        kind: order.streams,
        limits: limits(&order.limits),
        parent: getpid(),
        failure: Failure::default(),
    };
    start.begin()
}

/// Executes a program in the place of the calling one, in the directory and with the streams that this has. `rest` are the handles
/// of the program, its rules and its overseer, as far as it has them.
///
/// # Errors
///
/// Always: it was not executed.
pub fn become_it(execution: &Execution, rest: &[OwnedFd]) -> Result<Infallible, Fault> {
    let program = Program::of(execution, rest)?;
    let (step, errno) = program.execute(&pointers(&execution.args), &pointers(&execution.env));
    Err(Fault::System { step, errno: errno.raw_os_error() })
}

/// Never more than this process may itself: raising a limit takes a right that it need not have.
fn limits(limits: &JobLimits) -> Vec<(Resource, Rlimit)> {
    let written = [
        (Resource::Nofile, limits.open_files, 0),
        (Resource::As, limits.memory_bytes, 0),
        (Resource::Cpu, limits.cpu_s, LAST_CPU_S),
        (Resource::Fsize, limits.file_bytes, 0),
        (Resource::Core, Some(CORE_BYTES), 0),
    ];
    let bounded = |(resource, limit, beyond): (Resource, Option<u64>, u64)| {
        let own = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = limit?;
        Some((resource, Rlimit { current: Some(limit.min(own)), maximum: Some((limit + beyond).min(own)) }))
    };
    written.into_iter().filter_map(bounded).collect()
}

struct Program<'a> {
    file: File<'a>,
    confinement: Confinement<'a>,
}

enum File<'a> {
    Handle(BorrowedFd<'a>),
    Path(&'a CStr),
}

impl<'a> Program<'a> {
    /// What is executed, looked at once more if that is done by its path.
    fn of(execution: &'a Execution, rest: &'a [OwnedFd]) -> Result<Self, Fault> {
        if let Some((path, identity)) = &execution.unchanged
            && Identity::at(path).ok().as_ref() != Some(identity)
        {
            return Err(Fault::Changed(path.clone()));
        }
        let (overseer, rest) = split_last(execution.is_overseen, rest)?;
        let (rules, rest) = split_last(execution.is_ruled, rest)?;
        let executions = execution.key.map(|key| Executions::new(key, overseer));
        let confinement = Confinement { executions, rules };
        let file = match (&execution.target, rest) {
            (Target::Handle, [program]) => File::Handle(program.as_fd()),
            (Target::Path(path), []) => File::Path(path),
            _ => return Err(Fault::Order),
        };
        Ok(Self { file, confinement })
    }

    /// Gives back why it was not executed. Each list ends with a null pointer, and what they point to lives. Allocates nothing.
    fn execute(&self, args: &[*const c_char], env: &[*const c_char]) -> (Step, Errno) {
        if let Err(errno) = self.confinement.enter() {
            return (Step::Confinement, errno);
        }
        let (directory, path, flags) = match self.file {
            File::Handle(program) => (program.as_raw_fd(), c"", libc::AT_EMPTY_PATH),
            File::Path(path) => (libc::AT_FDCWD, path, 0),
        };
        #[expect(unsafe_code, reason = "no safe function executes a program")]
        // SAFETY: the lists live through the calls; a set of no signals is all zeroes.
        unsafe {
            let none: libc::sigset_t = std::mem::zeroed();
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            let key = self.confinement.key();
            libc::syscall(libc::SYS_execveat, directory, path.as_ptr(), args.as_ptr(), env.as_ptr(), flags, key);
        }
        (Step::Execute, last_error())
    }
}

/// The last handle, if there is one of this kind, and those before it.
fn split_last(has_it: bool, handles: &[OwnedFd]) -> Result<(Option<BorrowedFd<'_>>, &[OwnedFd]), Fault> {
    match (has_it, handles) {
        (false, rest) => Ok((None, rest)),
        (true, [rest @ .., last]) => Ok((Some(last.as_fd()), rest)),
        (true, []) => Err(Fault::Order),
    }
}

/// Everything the new process needs, made before it exists: it can not allocate.
struct Start<'a> {
    program: Program<'a>,
    /// Ends with a null pointer.
    args: Vec<*const c_char>,
    /// Ends with a null pointer.
    env: Vec<*const c_char>,
    directory: BorrowedFd<'a>,
    /// None of them is a standard stream itself.
    streams: [BorrowedFd<'a>; 3],
    kind: StreamKind,
    limits: Vec<(Resource, Rlimit)>,
    parent: Pid,
    failure: Failure,
}

/// What the new process writes for the calling one, whose memory it shares.
#[derive(Default)]
struct Failure {
    step: AtomicI32,
    errno: AtomicI32,
}

const STEPS: [Step; 7] =
    [Step::Process, Step::Session, Step::Directory, Step::Streams, Step::Limits, Step::Confinement, Step::Execute];

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

impl Start<'_> {
    fn begin(&self) -> Result<Pid, Fault> {
        let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
        #[expect(unsafe_code, reason = "no safe function makes a process that shares memory until it executes something")]
        // SAFETY: as `posix_spawn` does it. The calling thread stands still until the new process has executed its program or
        // ended, so that all that is borrowed here outlives it, and no two threads share the memory that it writes. The stack is
        // its own, aligned, and grows down from its end.
        let made = unsafe {
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            libc::clone(become_program, stack.as_mut_ptr_range().end.cast(), flags, std::ptr::from_ref(self).cast_mut().cast())
        };
        let pid = match Pid::from_raw(made) {
            Some(pid) if made > 0 => pid,
            _ => return Err(Fault::System { step: Step::Process, errno: last_error().raw_os_error() }),
        };
        match self.failure.errno.load(Ordering::SeqCst) {
            0 => Ok(pid),
            errno => {
                // It has ended; nothing can be learnt from how.
                _ = waitpid(Some(pid), WaitOptions::empty());
                let step = usize::try_from(self.failure.step.load(Ordering::SeqCst)).ok().and_then(|step| STEPS.get(step));
                Err(Fault::System { step: step.copied().unwrap_or(Step::Process), errno })
            }
        }
    }

    /// In the new process: every step, until one is refused. Allocates nothing, locks nothing.
    fn run(&self) -> (Step, Errno) {
        let Err((step, errno)) = self.prepare();
        (step, errno)
    }

    fn prepare(&self) -> Result<Infallible, (Step, Errno)> {
        let at = |step: Step| move |errno: Errno| (step, errno);
        setsid().map_err(at(Step::Session))?;
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(Step::Session))?;
        if getppid() != Some(self.parent) {
            return Err((Step::Session, Errno::CHILD));
        }
        fchdir(self.directory).map_err(at(Step::Directory))?;
        connect(self.streams).and_then(|()| seal(Closing::OnExecute)).map_err(at(Step::Streams))?;
        if self.kind == StreamKind::Terminal {
            ioctl_tiocsctty(self.streams[0]).map_err(at(Step::Streams))?;
        }
        self.limits.iter().try_for_each(|(resource, limit)| setrlimit(*resource, *limit)).map_err(at(Step::Limits))?;
        Err(self.program.execute(&self.args, &self.env))
    }
}

extern "C" fn become_program(start: *mut c_void) -> c_int {
    #[expect(unsafe_code, reason = "the C library hands on nothing but a pointer")]
    // SAFETY: `begin` passes a pointer to a `Start`, shares it, and stands still while this process uses it.
    let start = unsafe { &*start.cast_const().cast::<Start<'_>>() };
    let (step, errno) = start.run();
    let step = STEPS.iter().position(|known| *known == step).and_then(|step| i32::try_from(step).ok()).unwrap_or_default();
    start.failure.step.store(step, Ordering::SeqCst);
    start.failure.errno.store(errno.raw_os_error(), Ordering::SeqCst);
    // The C library ends the process with this, and runs nothing on the way.
    NOT_EXECUTED
}
