//! Both streams in the order in which they came.

use super::{
    Excerpt, Gap, Output, Part, Stamp, StreamName,
    stretch::{Arrival, Stretch},
};

/// What an entry takes up of what is asked for besides its bytes: its stream and its time are answered too.
const ENTRY_BYTES: usize = 64;

/// What came of one stream, without anything of the other in between.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stream; none where bytes fell out, of which it is not known.
    pub name: StreamName,
    /// When the first of it came.
    pub stamp: Stamp,
    /// The bytes, and what fell out before them.
    pub excerpt: Excerpt,
}

/// Some bytes of one stream that came together.
struct Span<'a> {
    name: StreamName,
    stretch: &'a Stretch,
    arrival: Arrival,
    length: u64,
}

impl Output {
    /// Up to `most` bytes from a position in the order of both streams on, and the position behind them. An entry counts as some
    /// bytes besides those it holds.
    pub fn read_merged(&self, from: u64, most: usize) -> (Vec<Entry>, u64) {
        let mut next = from.min(self.total);
        let (mut entries, mut left) = (Vec::<Entry>::new(), most);
        for span in self.spans(next) {
            let (begin, end) = (span.arrival.merged, span.arrival.merged + span.length);
            if left == 0 || end <= next {
                continue;
            }
            let gap = begin.saturating_sub(next);
            next = next.max(begin);
            let bytes =
                span.stretch.read(span.arrival.start + (next - begin), left.min(usize::try_from(end - next).unwrap_or(left)));
            (next, left) = (next + bytes.len() as u64, left - bytes.len());
            if append(&mut entries, &span, gap, bytes, next) {
                left = left.saturating_sub(ENTRY_BYTES);
            }
        }
        if left > 0 && next < self.total {
            lost(&mut entries, self.total - next);
            next = self.total;
        }
        (entries, next)
    }

    /// What came of both streams from a position on, in its order; the first may lie before.
    fn spans(&self, from: u64) -> impl Iterator<Item = Span<'_>> {
        let of = |name: StreamName| {
            self.track(name).stretches().into_iter().flat_map(move |stretch| {
                stretch.arrivals(from).map(move |(arrival, end)| Span { name, stretch, length: end - arrival.start, arrival })
            })
        };
        let (mut stdout, mut stderr) = (of(StreamName::Stdout).peekable(), of(StreamName::Stderr).peekable());
        std::iter::from_fn(move || match (stdout.peek(), stderr.peek()) {
            (Some(out), Some(err)) if err.arrival.merged < out.arrival.merged => stderr.next(),
            (None, _) => stderr.next(),
            _ => stdout.next(),
        })
    }

    /// Where that begins, in the order of both streams, which came at this time or later: behind the last that is known to have
    /// come before.
    pub fn merged_since(&self, stamp: Stamp) -> u64 {
        let tracks = StreamName::ALL.map(|name| self.track(name));
        let before = tracks.iter().flat_map(|track| track.stretches()).filter_map(|stretch| stretch.arrived_before(stamp));
        before.map(|(arrival, end)| arrival.merged + (end - arrival.start)).max().unwrap_or(0)
    }
}

/// Adds to the last entry, or as a new one; says whether it is new.
fn append(entries: &mut Vec<Entry>, span: &Span<'_>, gap: u64, bytes: Vec<u8>, next: u64) -> bool {
    let is_new = gap > 0 || entries.last().is_none_or(|last| last.name != span.name);
    if is_new {
        let gap = (gap > 0).then_some(Part::Gap(Gap { bytes: gap, lines: None }));
        let excerpt = Excerpt { parts: gap.into_iter().collect(), next };
        entries.push(Entry { name: span.name, stamp: span.arrival.stamp, excerpt });
    }
    if let Some(Entry { excerpt, .. }) = entries.last_mut() {
        excerpt.next = next;
        excerpt.extend(bytes);
    }
    is_new
}

/// What fell out at the end: the limit of all jobs was met, and nothing came since.
fn lost(entries: &mut Vec<Entry>, bytes: u64) {
    let gap = Part::Gap(Gap { bytes, lines: None });
    match entries.last_mut() {
        Some(last) => last.excerpt.parts.push(gap),
        None => entries.push(Entry {
            name: StreamName::Stdout,
            stamp: Stamp::default(),
            excerpt: Excerpt { parts: vec![gap], next: 0 },
        }),
    }
}
