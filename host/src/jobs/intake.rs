//! A job's output on its way in: read, filtered, kept.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::unix::pipe,
};
use tokio_util::sync::CancellationToken;

use super::{Job, Outlet, StreamName};
use crate::policy::{Chunk, OutputFilter, Piece};

/// How long nothing must come before a filter that sees everything is given a line that is not complete.
const SILENCE: Duration = Duration::from_millis(100);
/// How long output is still read when all of the job has ended: somebody who was handed its pipes may hold them open for ever.
const LAST_READ: Duration = Duration::from_secs(1);
/// What the kernel is asked to hold between a job and its reader, so that the job can write on while its output is filtered.
const PIPE_BYTES: usize = 1 << 20;

/// Where a stream's output goes.
pub(super) struct Sink<'a> {
    pub(super) job: &'a Job,
    pub(super) name: StreamName,
    pub(super) outlet: Option<&'a Outlet>,
    /// Cancelled when nothing of the job is left: whatever still comes is from strangers, or was in the pipe.
    pub(super) all_gone: &'a CancellationToken,
}

/// Reads a stream to its end, through its filter, into the job's buffer. The reader waits for the filter, and so, in the end, does
/// the job: nothing grows.
pub(super) async fn drain(mut pipe: pipe::Receiver, mut filter: OutputFilter, sink: Sink<'_>) {
    // Refused beyond the system's allowance for the user; the pipe then stays as it was.
    _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_BYTES);
    let mut left = PIPE_BYTES;
    loop {
        match next(&mut pipe, filter.awaits_silence(), &mut left, sink.all_gone).await {
            Next::Piece(piece) => sink.deliver(filter.push(piece).await).await,
            Next::Silence => sink.deliver(filter.silence().await).await,
            Next::End => break,
            Next::Strangers => {
                tracing::warn!(job = %sink.job.id(), "a process that is none of the job's still holds its output; it is read no further");
                break;
            }
            Next::Failed(error) => {
                tracing::warn!(job = %sink.job.id(), %error, "could not read the job's output to its end");
                break;
            }
        }
        if filter.must_stop() {
            sink.job.stop();
        }
    }
    sink.deliver(filter.end().await).await;
    if filter.must_stop() {
        sink.job.stop();
    }
}

/// What came of waiting for output.
enum Next {
    Piece(Piece),
    Silence,
    End,
    Strangers,
    Failed(std::io::Error),
}

/// Waits for output. Once nothing of the job is left it reads what the pipe can hold, and no longer than until it pauses.
async fn next(pipe: &mut (impl AsyncRead + Unpin), awaits_silence: bool, left: &mut usize, all_gone: &CancellationToken) -> Next {
    let is_over = all_gone.is_cancelled();
    let mut piece = Piece::to_fill();
    let mut room = piece.room();
    let pause = async {
        match (is_over, awaits_silence) {
            (true, _) => tokio::time::sleep(LAST_READ).await,
            (false, true) => tokio::time::sleep(SILENCE).await,
            (false, false) => all_gone.cancelled().await,
        }
    };
    tokio::select! {
        biased;
        read = pipe.read_buf(&mut room) => match read {
            Ok(0) => Next::End,
            Ok(_) if is_over && *left == 0 => Next::Strangers,
            Ok(read) => {
                if is_over {
                    *left = left.saturating_sub(read);
                }
                drop(room);
                Next::Piece(piece)
            }
            Err(error) => Next::Failed(error),
        },
        () = pause => if is_over { Next::Strangers } else { Next::Silence },
    }
}

impl Sink<'_> {
    async fn deliver(&self, chunk: Chunk) {
        if chunk.bytes().is_empty() {
            return;
        }
        self.job.keep(self.name, &chunk);
        if let Some(outlet) = self.outlet {
            // Nobody listening any more is no reason to stop the job.
            _ = outlet.send((self.name, chunk)).await;
        }
    }
}
