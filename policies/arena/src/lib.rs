//! Memory for sandboxes that answer once.
//!
//! An instance that makes one decision and is thrown away needs nobody to keep account of what it freed. So blocks are handed out
//! in a row, and only the last one can grow where it stands or be taken back:
//!
//! ```
//! # #[cfg(target_family = "wasm")]
//! #[global_allocator]
//! static ARENA: portcullis_arena::Arena = portcullis_arena::Arena::new();
//! ```
//!
//! Not for what lives longer, such as the filter of a stream: it would meet the limit on its memory.

#![cfg(any(test, target_family = "wasm"))]
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    ptr,
};

/// Bytes by which memory grows at least, in whole pages of WebAssembly: growing is a call to the system, and what is not touched
/// costs nothing but its place below the limit.
const STEP: usize = 1 << 20;

/// Hands out memory in a row.
pub struct Arena {
    /// Address of the first byte that is free.
    next: Cell<usize>,
    /// Address behind the last.
    end: Cell<usize>,
}

// SAFETY: a component has one thread.
#[cfg(target_family = "wasm")]
unsafe impl Sync for Arena {}

impl Arena {
    /// Without any memory yet.
    #[expect(clippy::new_without_default, reason = "it is made in a constant")]
    pub const fn new() -> Self {
        Self { next: Cell::new(0), end: Cell::new(0) }
    }

    fn take(&self, size: usize, align: usize) -> Option<*mut u8> {
        let at = self.next.get().checked_next_multiple_of(align)?;
        if at.checked_add(size)? > self.end.get() {
            self.grow(size.checked_add(align)?)?;
            return self.take(size, align);
        }
        self.next.set(at + size);
        Some(ptr::with_exposed_provenance_mut(at))
    }

    /// Gets at least so many bytes more, behind those that are there if nobody else took that place.
    fn grow(&self, bytes: usize) -> Option<()> {
        let bytes = bytes.checked_next_multiple_of(STEP)?;
        let start = more(bytes)?;
        if start != self.end.get() {
            self.next.set(start);
        }
        self.end.set(start + bytes);
        Some(())
    }

    fn is_last(&self, block: *mut u8, size: usize) -> bool {
        block.addr() + size == self.next.get()
    }
}

// SAFETY: blocks lie in memory that nothing else uses, between `next` and `end`, and `next` goes back only to where the last block
// began when that is freed.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size(), layout.align()).unwrap_or(ptr::null_mut())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_last(block, layout.size()) {
            self.next.set(block.addr());
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let is_last = self.is_last(block, layout.size());
        if is_last && size <= self.end.get() - block.addr() {
            self.next.set(block.addr() + size);
            return block;
        }
        if size <= layout.size() {
            return block;
        }
        let Some(new) = self.take(size, layout.align()) else { return ptr::null_mut() };
        // SAFETY: both blocks are that long, and the new one was free.
        unsafe { ptr::copy_nonoverlapping(block, new, layout.size()) };
        new
    }
}

/// The address of so many new bytes, whole pages.
#[cfg(target_family = "wasm")]
fn more(bytes: usize) -> Option<usize> {
    const PAGE: usize = 64 << 10;
    let pages = core::arch::wasm32::memory_grow(0, bytes / PAGE);
    (pages != usize::MAX).then(|| pages * PAGE)
}

#[cfg(all(test, not(target_family = "wasm")))]
fn more(bytes: usize) -> Option<usize> {
    Some(Box::leak(vec![0_u8; bytes].into_boxed_slice()).as_mut_ptr().expose_provenance())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A block, and the byte that all of it was filled with.
    struct Block {
        at: *mut u8,
        layout: Layout,
        filling: u8,
    }

    impl Block {
        fn fill(&self) {
            // SAFETY: the block is that long.
            unsafe { ptr::write_bytes(self.at, self.filling, self.layout.size()) }
        }

        fn is_whole(&self, most: usize) -> bool {
            // SAFETY: the block is that long, and was filled.
            (0..self.layout.size().min(most)).all(|at| unsafe { self.at.add(at).read() } == self.filling)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take { size: usize, align: u32 },
        Resize { which: usize, size: usize },
        Free { which: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = prop_oneof![8 => 1..64_usize, 8 => 1..5_000_usize, 1 => 1..2 * STEP];
        prop_oneof![
            (size.clone(), 0..5_u32).prop_map(|(size, align)| Step::Take { size, align }),
            (any::<usize>(), size).prop_map(|(which, size)| Step::Resize { which, size }),
            any::<usize>().prop_map(|which| Step::Free { which }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocks_are_aligned_keep_their_content_and_touch_no_other(steps in prop::collection::vec(step(), 1..60)) {
            let arena = Arena::new();
            let mut blocks: Vec<Block> = Vec::new();
            for (step, filling) in steps.into_iter().zip(1..) {
                match step {
                    Step::Take { size, align } => {
                        let layout = Layout::from_size_align(size, 1 << align).unwrap();
                        // SAFETY: the layout is not empty.
                        blocks.push(Block { at: unsafe { arena.alloc(layout) }, layout, filling });
                    }
                    Step::Resize { which, size } if !blocks.is_empty() => {
                        let which = which % blocks.len();
                        let block = &mut blocks[which];
                        let (old, at, before) = (block.layout, block.at, block.layout.size());
                        block.layout = Layout::from_size_align(size, old.align()).unwrap();
                        // SAFETY: the block is of this arena and layout.
                        block.at = unsafe { arena.realloc(at, old, size) };
                        prop_assert!(block.is_whole(before));
                    }
                    Step::Free { which } if !blocks.is_empty() => {
                        let block = blocks.swap_remove(which % blocks.len());
                        // SAFETY: the block is of this arena and layout.
                        unsafe { arena.dealloc(block.at, block.layout) };
                        continue;
                    }
                    _ => continue,
                }
                prop_assert!(blocks.iter().all(|block| block.at.addr().is_multiple_of(block.layout.align())));
                blocks.iter().for_each(Block::fill);
                prop_assert!(blocks.iter().all(|block| block.is_whole(usize::MAX)));
            }
        }
    }

    #[test]
    fn the_last_block_grows_where_it_stands_and_is_taken_back() {
        let arena = Arena::new();
        let layout = Layout::from_size_align(16, 8).unwrap();
        // SAFETY: the blocks are of this arena and layout, and used as long as they are there.
        unsafe {
            let first = arena.alloc(layout);
            let last = arena.alloc(layout);
            assert_eq!(arena.realloc(last, layout, 64), last);
            arena.dealloc(last, Layout::from_size_align(64, 8).unwrap());
            assert_eq!(arena.alloc(layout), last);
            assert_ne!(arena.realloc(first, layout, 64), first);
        }
    }

    #[test]
    fn what_no_memory_can_hold_is_refused() {
        let arena = Arena::new();
        assert!(arena.take(usize::MAX - 8, 16).is_none());
    }
}
