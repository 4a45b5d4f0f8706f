//! Which sequences run together: similar lengths, a token budget per batch.
//!
//! Packed batches need no padding, so sorting is only for an even load and small peaks of memory.
//! Results never depend on the grouping.

/// Groups of positions in `lengths`; longest first, each group at most `budget` tokens (a longer
/// sequence stands alone). Every position occurs once.
pub fn batches(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lengths[i]), i));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for i in order {
        if groups.is_empty() || lengths[i] > room {
            groups.push(Vec::new());
            room = budget;
        }
        room = room.saturating_sub(lengths[i]);
        if let Some(group) = groups.last_mut() {
            group.push(i);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_respect_the_budget_and_lose_nothing() {
        let lengths = [5, 100, 3, 8, 0, 7];
        let groups = batches(&lengths, 16);
        assert_eq!(groups, [vec![1], vec![3, 5], vec![0, 2, 4]]);
        let mut all: Vec<usize> = groups.concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        assert!(batches(&[], 16).is_empty());
    }
}
