//! How much memory there is.

const TIER_MAX: u64 = 256 * 1024 * 1024;
const TIER_SHARE: u64 = 8;

/// The memory tier's size where none is set: the lesser of 256 MiB and an eighth of the memory of
/// the cgroup or machine.
pub(crate) fn default_tier_bytes() -> u64 {
    let cgroup = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
    });
    let memory = [cgroup, machine].into_iter().flatten().min();
    memory.map_or(TIER_MAX, |bytes| TIER_MAX.min(bytes / TIER_SHARE))
}
