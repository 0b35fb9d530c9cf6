//! A way around all data that may begin anywhere: the scrub's, which is often begun anew and rarely finished.

use cairn_meta::DataId;

/// A position on the way: behind where it began to the end, then from the beginning to there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tour {
    began_behind: DataId,
    after: Option<DataId>,
    is_past_the_end: bool,
}

impl Tour {
    pub(super) fn beginning_behind(id: DataId) -> Self {
        Self {
            began_behind: id,
            after: Some(id),
            is_past_the_end: false,
        }
    }

    /// Behind which datum the next step begins.
    pub(super) fn after(&self) -> Option<DataId> {
        self.after
    }

    /// A step was taken, and there is more behind `next`. `None` when everything was visited.
    pub(super) fn advanced(mut self, next: Option<DataId>) -> Option<Self> {
        let is_over = self.is_past_the_end && next.is_none_or(|id| id >= self.began_behind);
        self.is_past_the_end |= next.is_none();
        self.after = next;
        (!is_over).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is visited of `ids` by steps of `limit`.
    fn visited(ids: &[u8], start: u8, limit: usize) -> Vec<u8> {
        let mut visited = Vec::new();
        let mut tour = Some(Tour::beginning_behind(DataId([start; 16])));
        while let Some(now) = tour {
            let rest = ids
                .iter()
                .copied()
                .filter(|id| now.after().is_none_or(|after| DataId([*id; 16]) > after));
            let step: Vec<u8> = rest.clone().take(limit).collect();
            let next = step.last().filter(|_| rest.count() > limit);
            tour = now.advanced(next.map(|id| DataId([*id; 16])));
            visited.extend(step);
            assert!(visited.len() < 100, "it never ends");
        }
        visited
    }

    #[test]
    fn every_datum_is_visited_wherever_the_tour_begins() {
        let ids = [1, 3, 5, 7, 9];
        assert_eq!(visited(&ids, 5, 1), [7, 9, 1, 3, 5]);
        for start in 0..=10 {
            for limit in 1..7 {
                let mut found = visited(&ids, start, limit);
                found.sort_unstable();
                found.dedup();
                assert_eq!(found, ids, "from {start} by {limit}");
            }
        }
        assert!(visited(&[], 5, 1).is_empty());
    }
}
