//! How long policies take to say what cases expect, as they work in production.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Configured, Mistake, Rig, Trial,
    cases::{self, Subject},
    rig::Policies,
};
use crate::policy::{Conditions, Image};

/// Decisions before those that count: caches of the processor and the allocator fill.
const WARMING: usize = 20;
/// Bytes that the filters are given at least.
const STREAM_BYTES: usize = 16 << 20;
/// Longest piece, in bytes: as it is read from a pipe.
const PIECE: usize = 64 * 1024;

/// What was measured of one file's policies.
#[derive(Debug, Default)]
pub struct Measured {
    /// How many commands were decided.
    pub commands: usize,
    /// Decisions of all policies together, and of each by itself, by name; each frozen and configured every time.
    pub decisions: Vec<Figures>,
    /// Bytes of output in a second through all filters, frozen and configured every time; none where no case has output.
    pub bytes_per_second: Option<f64>,
}

/// A distribution of times.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What was measured: a policy's name, or `all policies`.
    pub what: String,
    /// Whether from an image, or configured each time.
    pub image: Image,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// None took longer.
    pub longest: Duration,
}

/// Measures the policies of a file of cases: each command `count` times, with frozen policies and with such as are configured each
/// time; output through frozen ones.
///
/// # Errors
///
/// What is wrong with the file or with the policies it names.
pub async fn bench(
    file: &Path,
    configured: Configured<'_>,
    wants: impl Fn(&str) -> bool,
    count: usize,
) -> Result<Measured, Mistake> {
    let wrong = |what: String| Mistake { file: file.to_owned(), what };
    let (cases, trials) = cases::read(file)?;
    let trials: Vec<Trial> = trials.into_iter().filter(|trial| wants(&trial.name)).collect();
    let mut measured = Measured::default();
    for image in [Image::Frozen, Image::Never] {
        let policies = Policies::of(&cases, file, configured, None).map_err(wrong)?;
        let conditions = Conditions { image, ..Conditions::default() };
        let rig = Rig::under(policies, &cases.world, conditions, 1).await.map_err(wrong)?;
        let (commands, times) = decisions(&rig, &trials, count).await;
        measured.commands = commands;
        measured.decisions.extend(times.into_iter().map(|(what, times)| Figures::of(what, image, times)));
        if image == Image::Frozen {
            measured.bytes_per_second = throughput(&rig, &trials).await;
        }
    }
    Ok(measured)
}

/// How many commands can be decided, and the times of each policy and of all together, which come first.
async fn decisions(rig: &Rig, trials: &[Trial], count: usize) -> (usize, BTreeMap<String, Vec<Duration>>) {
    let (mut commands, mut times) = (0, BTreeMap::<String, Vec<Duration>>::new());
    for trial in trials {
        let Subject::Command(command) = &trial.subject else { continue };
        // What is refused before a policy sees it costs none of them anything.
        let Ok(request) = rig.request(command).await else { continue };
        commands += 1;
        for round in 0..WARMING + count {
            let request = request.clone();
            let began = Instant::now();
            let judgement = rig.chain().decide(request).await;
            let took = began.elapsed();
            if round < WARMING {
                continue;
            }
            times.entry(ALL.to_owned()).or_default().push(took);
            for answer in judgement.trail {
                times.entry(answer.policy).or_default().push(answer.took);
            }
        }
    }
    (commands, times)
}

/// What all policies together are called. No policy's name holds a blank.
const ALL: &str = " all policies";

async fn throughput(rig: &Rig, trials: &[Trial]) -> Option<f64> {
    let streams = trials.iter().filter_map(|trial| match &trial.subject {
        Subject::Output(stream) if !stream.is_empty() => Some(stream.as_slice()),
        _ => None,
    });
    let once = streams.collect::<Vec<_>>().concat();
    if once.is_empty() {
        return None;
    }
    let stream: Vec<u8> = once.iter().copied().cycle().take(STREAM_BYTES.next_multiple_of(once.len())).collect();
    let pieces: Vec<&[u8]> = stream.chunks(PIECE).collect();
    let began = Instant::now();
    rig.filtered(&pieces, false, &Arc::default()).await;
    Some(stream.len() as f64 / began.elapsed().as_secs_f64())
}

impl Figures {
    fn of(what: String, image: Image, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100];
        Self { what: what.trim_start().to_owned(), image, p50: at(50), p90: at(90), p99: at(99), longest: at(100) }
    }
}
