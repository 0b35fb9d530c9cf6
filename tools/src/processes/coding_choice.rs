//! How a gateway codes new objects, decided once, at its start. Pure.
//!
//! Invariant: what is coded survives the loss of as many disks as the cluster is meant to bear. A node that is still
//! starting therefore never makes the cluster a smaller one: without all nodes the coding stays as it was, and a new
//! cluster, which has none yet, waits for all of them. Nor does a gateway that was given too few nodes: fewer disks may be
//! lost than before only if somebody says so.

use cairn_gateway::engine::Geometry;
use cairn_storage_node::http::NodeError;

/// What a gateway has to wait for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Missing {
    #[error("no storage node answers: {0}")]
    AnyNode(NodeError),
    #[error("no storage node has a disk")]
    Disk,
    #[error(
        "the coding of a new cluster goes by the number of its disks, so all storage nodes have to answer once ({}); to begin \
         without them, say how objects are coded, with `--erasure K+M`",
        list(.0)
    )]
    AllNodes(Vec<NodeError>),
}

/// As it is configured; by the number of disks, if all nodes say what they have and no fewer disks may be lost than
/// `before`; otherwise as `before`.
pub(super) fn choose_coding(
    configured: Option<Geometry>,
    before: Option<Geometry>,
    found_count: usize,
    silent: &[NodeError],
) -> Result<Geometry, Missing> {
    if found_count == 0 {
        let error = silent.first().cloned();
        return Err(error.map_or(Missing::Disk, Missing::AnyNode));
    }
    let counted = silent
        .is_empty()
        .then(|| Geometry::for_disk_count(found_count));
    let bears_less = |before: &Geometry| {
        counted.is_none_or(|counted| counted.parity_count() < before.parity_count())
    };
    configured
        .or_else(|| before.filter(bears_less))
        .or(counted)
        .ok_or_else(|| Missing::AllNodes(silent.to_vec()))
}

fn list(errors: &[NodeError]) -> String {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(endpoints: &[&str]) -> Vec<NodeError> {
        let error = |endpoint: &&str| NodeError {
            endpoint: (*endpoint).to_owned(),
            detail: "connection refused".to_owned(),
        };
        endpoints.iter().map(error).collect()
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the shape of what it is given as and compared with"
    )]
    fn geometry(text: &str) -> Option<Geometry> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_new_cluster_waits_for_all_nodes_by_name_unless_its_coding_is_given() {
        let silent = silent(&["http://node2:9200", "http://node3:9200"]);
        let missing = choose_coding(None, None, 1, &silent).unwrap_err();
        let text = missing.to_string();
        for part in ["http://node2:9200", "http://node3:9200", "--erasure"] {
            assert!(text.contains(part), "{text}");
        }
        let chosen = choose_coding(geometry("4+2"), None, 1, &silent);
        assert_eq!(chosen.ok(), geometry("4+2"));
        assert_eq!(choose_coding(None, None, 6, &[]).ok(), geometry("4+2"));
    }

    #[test]
    fn the_coding_of_a_cluster_changes_only_when_all_nodes_answer() {
        let one_silent = silent(&["http://node3:9200"]);
        for found_count in [1, 2, 7] {
            let chosen = choose_coding(None, geometry("2+1"), found_count, &one_silent);
            assert_eq!(chosen.ok(), geometry("2+1"), "{found_count}");
        }
        let grown = choose_coding(None, geometry("2+1"), 6, &[]);
        assert_eq!(grown.ok(), geometry("4+2"));
        let configured = choose_coding(geometry("3+2"), geometry("2+1"), 6, &[]);
        assert_eq!(configured.ok(), geometry("3+2"));
    }

    #[test]
    fn too_few_nodes_do_not_make_a_cluster_that_bears_less() {
        for found_count in 1..=3 {
            let chosen = choose_coding(None, geometry("4+2"), found_count, &[]);
            assert_eq!(chosen.ok(), geometry("4+2"), "{found_count}");
        }
        // As many disks may be lost.
        let narrower = choose_coding(None, geometry("4+2"), 5, &[]);
        assert_eq!(narrower.ok(), geometry("3+2"));
        let configured = choose_coding(geometry("2+1"), geometry("4+2"), 3, &[]);
        assert_eq!(configured.ok(), geometry("2+1"));
    }

    #[test]
    fn nothing_begins_without_a_disk() {
        let none_answers = silent(&["http://node1:9200"]);
        for configured in [None, geometry("4+2")] {
            let missing = choose_coding(configured, geometry("4+2"), 0, &none_answers).unwrap_err();
            assert!(matches!(missing, Missing::AnyNode(_)), "{missing}");
            let missing = choose_coding(configured, None, 0, &[]).unwrap_err();
            assert!(matches!(missing, Missing::Disk), "{missing}");
        }
    }
}
