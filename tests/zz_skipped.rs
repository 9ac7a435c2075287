//! The last test program: counts what `cargo test` skipped, and says why.

#[allow(dead_code, reason = "only the place of the lines is wanted")]
#[path = "common/skip.rs"]
mod skip;

fn main() {
    let path = skip::skipped();
    let lines = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    match lines.lines().count() {
        0 => println!("\nno test was skipped\n"),
        1 => println!("\n1 test was skipped:\n{lines}"),
        count => println!("\n{count} tests were skipped:\n{lines}"),
    }
}
