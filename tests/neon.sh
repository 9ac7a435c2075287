#!/usr/bin/env bash
# Builds the library's tests for 64-bit ARM and runs those of the CPU kernels in an emulator. Needs rustup, and
# Debian's gcc-aarch64-linux-gnu and qemu-user. The emulator is slow, so that only this part is run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rustup target add aarch64-unknown-linux-gnu >&2
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
cargo test --release --lib --target aarch64-unknown-linux-gnu -- model::cpu model::ops model::attention
