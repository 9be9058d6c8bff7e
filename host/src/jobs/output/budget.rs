//! What the output of all jobs together may take, and that of each owner's.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A limit on the bytes that jobs keep, and how many they do.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// The one that this is a part of.
    whole: Option<Arc<Budget>>,
}

impl Budget {
    /// None is used yet.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0), whole: None }
    }

    /// A part of another: what is used of it is used of both.
    pub fn within(whole: Arc<Self>, limit: usize) -> Self {
        Self { whole: Some(whole), ..Self::new(limit) }
    }

    /// Bytes beyond the limit, or beyond that of the whole, if that is more.
    pub fn surplus(&self) -> usize {
        let own = self.used.load(Ordering::Relaxed).saturating_sub(self.limit);
        own.max(self.whole.as_ref().map_or(0, |whole| whole.surplus()))
    }

    /// Somebody holds so many now.
    pub(super) fn change(&self, before: usize, now: usize) {
        if now >= before {
            self.used.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - now, Ordering::Relaxed);
        }
        if let Some(whole) = &self.whole {
            whole.change(before, now);
        }
    }
}
