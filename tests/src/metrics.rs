//! What a process exports on `/-/metrics`.
//!
//! A sample that is not there is never taken for zero: whoever asks for a number of samples says how many there must be.

use crate::http::get_text;

/// One export.
#[derive(Debug, Clone)]
pub struct Metrics(String);

impl Metrics {
    /// What the process at `endpoint` exports now.
    ///
    /// # Errors
    /// What happened to the request.
    pub async fn of(endpoint: &str) -> Result<Self, String> {
        get_text(&format!("{endpoint}/-/metrics")).await.map(Self)
    }

    /// The value of one sample, by its name and labels as they are written.
    ///
    /// # Errors
    /// If there is none, or its value is no integer.
    pub fn value(&self, sample: &str) -> Result<u64, String> {
        let line = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        let value = line.ok_or_else(|| format!("no {sample} in:\n{}", self.0))?;
        value.parse().map_err(|error| format!("{sample}: {error}"))
    }

    /// The values of all samples of one name, with their labels as they are written.
    ///
    /// # Errors
    /// If a value is no integer.
    pub fn samples(&self, name: &str) -> Result<Vec<(&str, u64)>, String> {
        let samples = self.0.lines().filter_map(|line| {
            let (labels, value) = line
                .strip_prefix(name)?
                .strip_prefix('{')?
                .rsplit_once("} ")?;
            Some((labels, value))
        });
        samples
            .map(|(labels, value)| match value.parse() {
                Ok(value) => Ok((labels, value)),
                Err(error) => Err(format!("{name}{{{labels}}} {value}: {error}")),
            })
            .collect()
    }

    /// Payload bytes of all live shards on `disk_count` disks.
    ///
    /// # Errors
    /// If the figures of another number of disks are there.
    pub fn live_bytes(&self, disk_count: usize) -> Result<u64, String> {
        let disks = self.samples("cairn_disk_shard_bytes")?;
        if disks.len() != disk_count {
            return Err(format!("figures of {} disks: {disks:?}", disks.len()));
        }
        Ok(disks.iter().map(|(_, bytes)| bytes).sum())
    }

    /// How many disks are in a state.
    ///
    /// # Errors
    /// If a value is no integer.
    pub fn disk_count(&self, health: &str) -> Result<usize, String> {
        let label = format!("health=\"{health}\"");
        let disks = self.samples("cairn_disk_health")?;
        Ok(disks
            .iter()
            .filter(|(labels, value)| *value == 1 && labels.contains(&label))
            .count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_exported_is_not_zero() {
        let metrics = Metrics(
            "# TYPE cairn_disk_shard_bytes gauge\n\
             cairn_disk_shard_bytes{disk=\"a\"} 3\n\
             cairn_disk_shard_bytes{disk=\"b\"} 4\n\
             cairn_disk_health{disk=\"a\",health=\"healthy\"} 1\n\
             cairn_meta_healthy 1\n"
                .to_owned(),
        );
        assert_eq!(metrics.live_bytes(2), Ok(7));
        assert!(metrics.live_bytes(3).is_err());
        assert_eq!(metrics.disk_count("healthy"), Ok(1));
        assert_eq!(metrics.value("cairn_meta_healthy"), Ok(1));
        assert!(metrics.value("cairn_meta").is_err());
        assert!(Metrics(String::new()).live_bytes(1).is_err());
    }
}
