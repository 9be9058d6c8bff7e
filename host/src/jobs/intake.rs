//! A job's output on its way in: read, filtered, kept.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{Job, Outlet, StreamName, process::Reader};
use crate::policy::{Chunk, OutputFilter, Piece};

/// How long nothing must come before a filter that sees everything is given a line that is not complete.
const SILENCE: Duration = Duration::from_millis(100);
/// How long output is still read when all of the job has ended: somebody who was handed its pipes may hold them open for ever.
const LAST_READ: Duration = Duration::from_secs(1);
/// Pieces that are read while one is filtered. With the one in either hand, that is what a stream takes up besides what is kept.
const PIECES_AHEAD: usize = 2;
/// What the kernel is asked to hold between a job and its reader, so that the job can write on while its output is filtered.
pub(super) const PIPE_BYTES: usize = 1 << 20;

/// Where a stream's output goes.
pub(super) struct Sink<'a> {
    pub(super) job: &'a Job,
    pub(super) name: StreamName,
    pub(super) outlet: Option<&'a Outlet>,
    /// Cancelled when nothing of the job is left: whatever still comes is from strangers, or was in the pipe.
    pub(super) all_gone: &'a CancellationToken,
}

/// Reads a stream to its end, through its filter, into the job's buffer. Reading goes on in a task of its own while a piece is
/// filtered, but only so far ahead: the reader waits for the filter, and so, in the end, does the job: nothing grows.
pub(super) async fn drain(pipe: Reader, mut filter: OutputFilter, sink: Sink<'_>) {
    let (sender, mut pieces) = mpsc::channel(PIECES_AHEAD);
    let reader = tokio::spawn(read(pipe, sender, sink.all_gone.clone()));
    loop {
        let next = async { pieces.recv().await };
        let next = if filter.awaits_silence() { tokio::time::timeout(SILENCE, next).await } else { Ok(next.await) };
        match next {
            Ok(Some(piece)) => sink.deliver(filter.push(piece).await).await,
            Ok(None) => break,
            Err(_) => sink.deliver(filter.silence().await).await,
        }
        filter.stopping_fault().inspect(|fault| sink.job.fail(fault));
    }
    match reader.await {
        Ok(End::Closed) => {}
        Ok(End::Strangers) => {
            tracing::warn!(job = %sink.job.id(), "a process that is none of the job's still holds its output; it is read no further");
        }
        Ok(End::Failed(error)) => {
            tracing::warn!(job = %sink.job.id(), %error, "could not read the job's output to its end");
        }
        Err(error) => tracing::error!(job = %sink.job.id(), %error, "the reading of the job's output failed"),
    }
    sink.deliver(filter.end().await).await;
    filter.stopping_fault().inspect(|fault| sink.job.fail(fault));
}

/// Why no more of a stream is read.
enum End {
    Closed,
    Strangers,
    Failed(std::io::Error),
}

/// Reads until the stream ends. Once nothing of the job is left it reads what the pipe can hold, and no longer than until it
/// pauses.
async fn read(mut pipe: Reader, pieces: mpsc::Sender<Piece>, all_gone: CancellationToken) -> End {
    loop {
        match next(&mut pipe, all_gone.cancelled()).await {
            Next::Piece(piece) => {
                if pieces.send(piece).await.is_err() {
                    return End::Closed;
                }
            }
            Next::End(end) => return end,
            Next::TimeUp => break,
        }
    }
    let mut left = PIPE_BYTES;
    loop {
        match next(&mut pipe, tokio::time::sleep(LAST_READ)).await {
            Next::Piece(_) if left == 0 => return End::Strangers,
            Next::Piece(piece) => {
                left = left.saturating_sub(piece.len());
                if pieces.send(piece).await.is_err() {
                    return End::Closed;
                }
            }
            Next::End(end) => return end,
            Next::TimeUp => return End::Strangers,
        }
    }
}

/// What came of waiting for output.
enum Next {
    Piece(Piece),
    End(End),
    TimeUp,
}

async fn next(pipe: &mut (impl AsyncRead + Unpin), time_up: impl Future<Output = ()>) -> Next {
    let mut piece = Piece::to_fill();
    let mut room = piece.room();
    let read = tokio::select! {
        biased;
        read = pipe.read_buf(&mut room) => read,
        () = time_up => return Next::TimeUp,
    };
    drop(room);
    match read {
        Ok(0) => Next::End(End::Closed),
        Ok(_) => Next::Piece(piece),
        Err(error) => Next::End(End::Failed(error)),
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
