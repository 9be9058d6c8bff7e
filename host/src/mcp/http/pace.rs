//! How many requests a second.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// So many requests a second, and so many at once after a second without.
pub(super) struct Pace {
    /// The pause after each that would keep the pace.
    pause: Duration,
    /// Until when the requests so far would have taken, each with its pause.
    until: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(per_s: usize) -> Self {
        let pause = Duration::from_secs(1) / u32::try_from(per_s).unwrap_or(u32::MAX).max(1);
        Self { pause, until: Mutex::new(Instant::now()) }
    }

    /// Whether one more may come now.
    pub(super) fn admit(&self) -> bool {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> bool {
        let mut until = self.until.lock().expect("no holder of this lock panics");
        let next = (*until).max(now) + self.pause;
        let is_early = next > now + Duration::from_secs(1);
        if !is_early {
            *until = next;
        }
        !is_early
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_so_many_a_second() {
        let (pace, begin) = (Pace::new(4), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        assert_eq!([0, 0, 0, 0, 0].map(|ms| pace.admit_at(at(ms))), [true, true, true, true, false]);
        assert_eq!([260, 260, 520].map(|ms| pace.admit_at(at(ms))), [true, false, true]);
        assert_eq!([0; 6].map(|_| pace.admit_at(at(9000))), [true, true, true, true, false, false]);
    }
}
