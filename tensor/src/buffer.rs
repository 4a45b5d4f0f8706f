//! Memory of tensors, used again instead of given back to the system.
//!
//! Numerics:    what a reused buffer holds is unspecified; debug builds fill it with NaN, so that an
//!              operation that leaves a gap fails its tests
//! Cost:        a fresh page costs a fault and its zeros, about as long as an operation that fills
//!              it; a training step or an inference call finds all its buffers here after the first.
//!              Kept and used memory together never exceed five quarters of the most that was in
//!              use, plus `SLACK`; what nobody asked for longest is given back first

use bert4rs_kernels::parallel;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Elements below which the system's allocator is as quick.
const SMALL: usize = 4096;
/// Elements that may always be kept.
const SLACK: usize = 8 << 20;

/// An element type with a pool of its own.
pub(crate) trait Pooled: Copy + Default + Send + 'static {
    /// What unset memory is filled with in debug builds.
    const UNSET: Self;
    fn pool() -> &'static Pool<Self>;
}

macro_rules! pooled {
    ($type:ty, $unset:expr) => {
        impl Pooled for $type {
            const UNSET: Self = $unset;
            fn pool() -> &'static Pool<Self> {
                static POOL: Pool<$type> = Pool::new();
                &POOL
            }
        }
    };
}
pooled!(f32, f32::NAN);
pooled!(f64, f64::NAN);
pooled!(i64, i64::MIN);

/// `len` elements that return to the pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer<T: Pooled> {
    /// A whole size class, or exactly `len`.
    values: Vec<T>,
    len: usize,
}

/// A buffer whose elements must all be written before they are read.
pub(crate) fn unset<T: Pooled>(len: usize) -> Buffer<T> {
    let mut buffer = Buffer { values: T::pool().take(len), len };
    if cfg!(debug_assertions) {
        buffer.fill(T::UNSET);
    }
    buffer
}

/// A buffer of zeros.
pub(crate) fn zeros<T: Pooled>(len: usize) -> Buffer<T> {
    let mut buffer = Buffer { values: T::pool().take(len), len };
    parallel::rows(&mut buffer, 1, 1, |_, part| part.fill(T::default()));
    buffer
}

impl<T: Pooled> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values[..self.len]
    }
}

impl<T: Pooled> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len]
    }
}

impl<T: Pooled> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        let mut copy = Buffer { values: T::pool().take(self.len), len: self.len };
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: Pooled> From<Vec<T>> for Buffer<T> {
    fn from(values: Vec<T>) -> Self {
        let len = values.len();
        Buffer { values, len }
    }
}

impl<T: Pooled> Drop for Buffer<T> {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        if values.len() >= SMALL && values.len() == class(values.len()) {
            T::pool().give(values);
        }
    }
}

/// The elements a request of `len` gets: at most an eighth more.
fn class(len: usize) -> usize {
    if len < SMALL {
        return len;
    }
    let step = 1 << (len.ilog2() - 3);
    len.next_multiple_of(step)
}

pub(crate) struct Pool<T>(Mutex<Free<T>>);

struct Free<T> {
    /// By size, the longest kept first, with the time it came.
    by_class: BTreeMap<usize, VecDeque<(u64, Vec<T>)>>,
    clock: u64,
    kept: usize,
    used: usize,
    most_used: usize,
}

impl<T: Pooled> Pool<T> {
    const fn new() -> Self {
        Pool(Mutex::new(Free::new()))
    }

    fn take(&self, len: usize) -> Vec<T> {
        let size = class(len);
        if size >= SMALL
            && let Some(values) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take(size)
        {
            return values;
        }
        vec![T::default(); size]
    }

    fn give(&self, values: Vec<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).give(values);
    }
}

impl<T> Free<T> {
    const fn new() -> Self {
        Free { by_class: BTreeMap::new(), clock: 0, kept: 0, used: 0, most_used: 0 }
    }

    /// A kept buffer of this class or the next larger one; none when one must be made.
    fn take(&mut self, size: usize) -> Option<Vec<T>> {
        let fits = self.by_class.range_mut(size..=size + size / 8).find(|(_, free)| !free.is_empty());
        let found = fits.and_then(|(_, free)| free.pop_back()).map(|(_, values)| values);
        let new = found.as_ref().map_or(size, Vec::len);
        self.used += new;
        self.most_used = self.most_used.max(self.used);
        if found.is_some() {
            self.kept -= new;
        } else {
            self.shrink();
        }
        found
    }

    fn give(&mut self, values: Vec<T>) {
        // A buffer made from a caller's vector of just this size was never counted.
        self.used = self.used.saturating_sub(values.len());
        self.kept += values.len();
        self.clock += 1;
        self.by_class.entry(values.len()).or_default().push_back((self.clock, values));
        self.shrink();
    }

    /// Frees what was kept longest until the bound holds.
    fn shrink(&mut self) {
        while self.kept > 0 && self.used + self.kept > self.most_used / 4 * 5 + SLACK {
            let age = |free: &VecDeque<(u64, Vec<T>)>| free.front().map_or(u64::MAX, |(time, _)| *time);
            let Some(oldest) = self.by_class.values_mut().min_by_key(|free| age(free)) else { return };
            let Some((_, values)) = oldest.pop_front() else { return };
            self.kept -= values.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_an_eighth() {
        for len in (0..300_000).step_by(37) {
            let size = class(len);
            assert!(size >= len && size <= len + len / 8 && class(size) == size, "{len}: {size}");
        }
    }

    #[test]
    fn a_freed_buffer_is_found_again_and_a_copy_is_apart() {
        let mut free = Free::new();
        assert!(free.take(8192).is_none());
        free.give(vec![1.0; 8192]);
        assert!(free.take(16384).is_none(), "a buffer too small is not handed out");
        assert_eq!(free.take(8192).map(|v| v.len()), Some(8192));
        assert_eq!((free.kept, free.used), (0, 8192 + 16384));

        let mut a = zeros::<f64>(5000);
        let b = a.clone();
        a[4999] = 1.0;
        assert_eq!((a.len(), b[4999]), (5000, 0.0));
    }

    #[test]
    fn memory_that_no_size_asks_for_is_given_back() {
        let mut free = Free::new();
        for i in 0..100 {
            let size = class(SLACK / 4) + (i % 2) * class(SLACK);
            let got = free.take(size).unwrap_or_else(|| vec![0u8; size]);
            free.give(got);
            assert!(free.used + free.kept <= free.most_used / 4 * 5 + SLACK);
        }
        assert!(free.kept > 0);
    }
}
