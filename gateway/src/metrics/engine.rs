//! What the engine counts.

use prometheus::proto::MetricFamily;
use prometheus::{Error, IntCounter, IntGauge, Registry};

use super::registration::{keep, saturating};
use crate::engine::EngineMetrics;

/// What the engine has counted. It keeps the counts itself, so each export has fresh counters with its values.
pub(super) fn of_engine(engine: &EngineMetrics) -> Result<Vec<MetricFamily>, Error> {
    let registry = Registry::new();
    for sample in &engine.counters {
        let name = format!("cairn_engine_{}_total", sample.name);
        let counter = keep(&registry, IntCounter::new(name, sample.meaning))?;
        counter.inc_by(sample.value);
    }
    for (name, help, value) in [
        (
            "cairn_engine_write_memory_used_bytes",
            "Buffer memory in use by writes.",
            engine.write_memory_used_bytes,
        ),
        (
            "cairn_engine_read_memory_used_bytes",
            "Buffer memory in use by reads.",
            engine.read_memory_used_bytes,
        ),
        (
            "cairn_engine_staged_bytes",
            "Bytes of small writes that wait in the metadata for their shards.",
            engine.staged_bytes,
        ),
    ] {
        keep(&registry, IntGauge::new(name, help))?.set(saturating(value));
    }
    Ok(registry.gather())
}
