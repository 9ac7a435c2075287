//! How much memory a run may take.

/// Rows of one pass: enough for products at full speed, few enough that memory once touched is used again.
pub const PASS_ROWS: usize = 2048;

/// Bytes that one step of a run may hold beyond weights: half of what is free.
pub fn default_budget() -> usize {
    free() / 2
}

/// Bytes of main memory that are free, 2 GiB where that cannot be known.
fn free() -> usize {
    let read = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    };
    read().map_or(2 << 30, |kib| kib * 1024)
}
