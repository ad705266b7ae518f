//! The same work for every item, a few at a time.

use std::sync::{Mutex, PoisonError};

/// Does the work for every item on so many threads. Results are in no order.
pub fn each<T: Sync, R: Send>(lanes: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let waiting = Mutex::new(items.iter());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..lanes.min(items.len()) {
            let _lane = scope.spawn(|| {
                // A lane that panicked left both lists whole; the scope passes its panic on.
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(item) = next() {
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_once() {
        let items: Vec<u32> = (0..100).collect();
        for lanes in [1, 3, 200] {
            let mut results = each(lanes, &items, |item| item + 1);
            results.sort_unstable();
            assert_eq!(results, (1..101).collect::<Vec<u32>>(), "{lanes} lanes");
        }
        assert_eq!(each(3, &[], |item: &u32| *item), [0; 0]);
    }
}
