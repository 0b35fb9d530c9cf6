//! What is to be done for a chunk: a pure decision from the state of its shards.

use cairn_meta::Coding;

/// The state of one shard, looked at on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShardCondition {
    /// Verified, on a disk that stays.
    Whole,
    /// Verified, on a disk that is being emptied, or that is given up although it can be read.
    Leaving,
    /// Missing or corrupt, on a disk that answers; or placed nowhere.
    Bad,
    /// On a disk that has not answered lately, but may be back soon.
    Away,
    /// On a disk that has been away for so long that it is not waited for.
    Lost,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RepairPlan {
    /// All is well, or will be when a disk is back.
    Nothing,
    /// Make these again, and put them where they are safe.
    Rebuild(Vec<usize>),
    /// Shards are missing, and can be made again only when disks are back.
    Wait,
    /// Shards are missing, and no disk that comes back can help.
    Hopeless,
}

/// Decides.
pub(crate) fn plan_repair(conditions: &[ShardCondition], coding: Coding) -> RepairPlan {
    let count_of = |wanted: &[ShardCondition]| {
        conditions
            .iter()
            .filter(|condition| wanted.contains(condition))
            .count()
    };
    let to_make: Vec<usize> = conditions
        .iter()
        .enumerate()
        .filter(|(_, condition)| !matches!(condition, ShardCondition::Whole | ShardCondition::Away))
        .map(|(index, _)| index)
        .collect();
    let readable = count_of(&[ShardCondition::Whole, ShardCondition::Leaving]);
    let may_return = count_of(&[ShardCondition::Away, ShardCondition::Lost]);
    if to_make.is_empty() {
        RepairPlan::Nothing
    } else if readable >= coding.shards_needed() {
        RepairPlan::Rebuild(to_make)
    } else if readable + may_return >= coding.shards_needed() {
        RepairPlan::Wait
    } else {
        RepairPlan::Hopeless
    }
}

#[cfg(test)]
mod tests {
    use super::ShardCondition::{Away, Bad, Leaving, Lost, Whole};
    use super::*;

    const CODING: Coding = Coding::Erasure { data: 4, parity: 2 };

    #[test]
    fn what_is_bad_lost_or_leaving_is_made_again() {
        assert_eq!(plan_repair(&[Whole; 6], CODING), RepairPlan::Nothing);
        assert_eq!(
            plan_repair(&[Whole, Bad, Whole, Whole, Lost, Whole], CODING),
            RepairPlan::Rebuild(vec![1, 4])
        );
        assert_eq!(
            plan_repair(&[Leaving, Whole, Whole, Whole, Whole, Whole], CODING),
            RepairPlan::Rebuild(vec![0])
        );
    }

    #[test]
    fn a_disk_that_is_away_for_a_moment_is_waited_for() {
        assert_eq!(
            plan_repair(&[Whole, Whole, Away, Whole, Whole, Whole], CODING),
            RepairPlan::Nothing
        );
        assert_eq!(
            plan_repair(&[Whole, Whole, Away, Whole, Whole, Bad], CODING),
            RepairPlan::Rebuild(vec![5])
        );
        assert_eq!(
            plan_repair(&[Whole, Whole, Away, Away, Whole, Bad], CODING),
            RepairPlan::Wait
        );
        assert_eq!(
            plan_repair(&[Whole, Whole, Bad, Bad, Whole, Bad], CODING),
            RepairPlan::Hopeless
        );
    }

    #[test]
    fn one_copy_makes_the_others() {
        let coding = Coding::Copies { count: 3 };
        assert_eq!(
            plan_repair(&[Bad, Lost, Whole], coding),
            RepairPlan::Rebuild(vec![0, 1])
        );
        assert_eq!(plan_repair(&[Bad, Lost, Bad], coding), RepairPlan::Wait);
        assert_eq!(plan_repair(&[Bad, Bad, Bad], coding), RepairPlan::Hopeless);
    }
}
