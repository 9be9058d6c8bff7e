//! A pseudo-terminal: the server's side of one.
//!
//! Its line discipline changes as little as a terminal can: what was approved is what the job reads, and what the job writes is
//! what the output filters see. So nothing that the system itself would take for editing is switched on (erase, kill, word erase,
//! reprint, literal next), no byte stops the output, a return stays a return, and a newline a newline. What remains: echo, lines,
//! control-C, control-\, control-Z, control-D. What a program makes of its terminal afterwards is its own.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use rustix::{
    io::{Errno, ioctl_fionbio, retry_on_intr},
    ioctl::{IntegerSetter, Opcode, ioctl, opcode},
    process::Signal,
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{
        InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
    },
};
use tokio::io::{AsyncRead, Interest, ReadBuf, unix::AsyncFd};

use super::WriteError;

/// Longest line, with its end, that is sent while the terminal takes input by lines, in bytes: the system drops what is beyond, and
/// the job would read another line than was approved.
pub(super) const MOST_LINE_BYTES: usize = 4095;
/// What the system hands over at a time, in bytes.
const READ_BYTES: usize = 4096;
/// Ends the input where it comes first on a line.
const END: u8 = 0x04;
/// In the place of a special byte: there is none.
const NO_BYTE: u8 = 0;
/// Sends a signal to the group in the foreground: `TIOCSIG`.
const SEND_SIGNAL: Opcode = opcode::write::<libc::c_int>(b'T', 0x36);

const EDITING: [SpecialCodeIndex; 5] = [
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VLNEXT,
];

/// How large a terminal says it is, in characters; 0: not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub cols: u16,
}

/// The server's side of a job's terminal. It is hung up when this is dropped.
#[derive(Debug)]
pub(super) struct Terminal {
    file: AsyncFd<OwnedFd>,
    /// Held while anything of the job is left: it may close its terminal, open it again by `/dev/tty` and go on.
    its: Mutex<Option<OwnedFd>>,
    /// Bytes that were sent since the last line end, as far as the terminal kept them together.
    on_line: AtomicUsize,
}

impl Terminal {
    /// A new terminal, and the job's side of it.
    ///
    /// # Errors
    ///
    /// The system has no more of them, or none at all.
    pub(super) fn open(size: Size) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        unlockpt(&ours)?;
        // By the handle: whatever is mounted at `/dev/pts` is not asked.
        let its = ioctl_tiocgptpeer(&ours, flags)?;
        quieten(&its)?;
        tcsetwinsize(&its, size.into())?;
        ioctl_fionbio(&ours, true)?;
        #[expect(unsafe_code, reason = "tokio waits for descriptors, and can not know who closes them")]
        // SAFETY: an owned descriptor stays open and the same until it is dropped, which happens after it is registered no more.
        let file = unsafe { AsyncFd::register(ours)? };
        let held = Mutex::new(Some(its.try_clone()?));
        Ok((Self { file, its: held, on_line: AtomicUsize::new(0) }, its))
    }

    /// Nothing of the job is left: what it wrote now has an end.
    pub(super) fn release(&self) {
        self.its.lock().expect("no holder of this lock panics").take();
    }

    /// Whether a line of this input would be too long; if not, what is on the line then is remembered. To be asked before it is
    /// written, by one writer at a time.
    pub(super) fn admit(&self, input: &[u8]) -> Result<(), WriteError> {
        let is_by_lines = tcgetattr(&self.file).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON));
        let mut on_line = self.on_line.load(Ordering::Relaxed);
        for line in input.split_inclusive(|byte| *byte == b'\n') {
            on_line += line.len();
            if is_by_lines && on_line > MOST_LINE_BYTES {
                return Err(WriteError::LongLine);
            }
            // Who reads keys has taken them; they are on no line.
            on_line = if line.ends_with(b"\n") || !is_by_lines { 0 } else { on_line };
        }
        self.on_line.store(on_line, Ordering::Relaxed);
        Ok(())
    }

    /// Writes all of it, however long the job takes to read it.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = |file: &OwnedFd| Ok(retry_on_intr(|| rustix::io::write(file, bytes))?);
            match self.file.async_io(Interest::WRITABLE, write).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    }

    /// Ends the input, as control-D does. A terminal takes more of it afterwards, if anybody still reads.
    pub(super) async fn end_input(&self) -> io::Result<()> {
        // On a line that has begun the first but hands over what is there.
        let is_within_line = self.on_line.swap(0, Ordering::Relaxed) > 0;
        self.write(&[END; 2][..1 + usize::from(is_within_line)]).await
    }

    /// Sends INT or QUIT to whoever is in the foreground, as control-C and control-\ do, whether or not a program would read them
    /// as bytes.
    pub(super) fn interrupt(&self, signal: Signal) -> io::Result<()> {
        let number = usize::try_from(signal.as_raw()).expect("signals have positive numbers");
        #[expect(
            unsafe_code,
            reason = "no safe function sends a signal by a terminal, and by its group's number it could hit another"
        )]
        // SAFETY: the request takes a number of a signal by value, and touches no memory of this process.
        unsafe {
            ioctl(&self.file, IntegerSetter::<SEND_SIGNAL>::new_usize(number))?;
        }
        // The system throws away what stands on the line.
        self.on_line.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Says that the size is another now; whoever is in the foreground is told by SIGWINCH.
    pub(super) fn resize(&self, size: Size) -> io::Result<()> {
        Ok(tcsetwinsize(&self.file, size.into())?)
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.file.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled_to(READ_BYTES.min(buffer.remaining()));
            let read = ready.try_io(|file| match retry_on_intr(|| rustix::io::read(file, &mut *room)) {
                // Nobody holds the job's side any more, and all that was written is read.
                Err(Errno::IO) => Ok(0),
                read => Ok(read?),
            });
            if let Ok(read) = read {
                buffer.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl From<Size> for Winsize {
    fn from(Size { rows, cols }: Size) -> Self {
        Self { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

fn quieten(terminal: &OwnedFd) -> io::Result<()> {
    let mut modes = tcgetattr(terminal)?;
    modes.input_modes.remove(InputModes::ICRNL | InputModes::IXON);
    modes.output_modes.remove(OutputModes::ONLCR);
    EDITING.iter().for_each(|key| modes.special_codes[*key] = NO_BYTE);
    Ok(tcsetattr(terminal, OptionalActions::Now, &modes)?)
}

/// Reads what the job writes.
#[derive(Debug)]
pub(super) struct Screen(pub(super) Arc<Terminal>);

impl AsyncRead for Screen {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(context, buffer)
    }
}
