# The few commands a person needs. Each is one cargo command; TESTING.md says what it proves.

# List the recipes.
default:
    @just --list

# Everything, crash explorations included in their quick form.
test:
    cargo test --workspace

# The crash explorations, at length: operations, images, recoveries, failures. And snapshots beside threads that store, for a minute each.
crash:
    PMEM_CRASH_LONG=1 cargo test --release --workspace --test crash --test crash_growth -- --nocapture
    cargo run --release --example snapshot_race -- --seconds 60
    cargo run --release --example snapshot_race -- --seconds 60 --protected

# Break each rule of the protocols, and see that the exploration finds it.
crash-rules:
    cargo test --workspace --test crash_rules -- --nocapture

# Leave out every store, flush and drain, one at a time, and see that the exploration finds it. `-p CRATE` for one crate.
mutation *ARGS:
    cargo run --release -p pmem-crash --bin mutation-table -- {{ARGS}}

# Lines and drains of every operation, against their budgets.
budget:
    cargo test --workspace --test budget -- --nocapture

# Real test suites and programs on mounted volumes, as root. `--full` for all of them; names for some.
posix *ARGS:
    tests/posix/run {{ARGS}}

# A command in a virtual machine that has real DAX: `just vm target/release/vm-guest all`. `--power-cut N` kills it as it works.
vm *ARGS:
    cargo build --release -p vm-guest
    tests/vm/run {{ARGS}}

# Power cuts at length: `cuts` of each subject, and the controls, which have to lose something.
vm-long cuts="50":
    cargo build --release -p vm-guest
    tests/vm/long {{cuts}}

# What atomicity costs, against raw mmap and std.
bench *ARGS:
    cargo bench -p benches {{ARGS}}

# Instructions of the hot operations, against those that are kept. `--update` keeps what is counted.
instructions *ARGS:
    cargo run --release -p benches --bin count-instructions -- {{ARGS}}

# The whole comparison, interleaved: `just compare --html report.html`.
compare *ARGS:
    cargo run --release -p nova-cli -- bench {{ARGS}}

# Warnings are errors.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# The documentation; warnings are errors.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# An index of this folder's sources, killed and killed again.
quickstart *ARGS:
    cargo run --release --example quickstart -- {{ARGS}}

# The parts without assembly, as another processor would compile them.
fallback:
    RUSTFLAGS="--cfg pmem_fallback" cargo test -p pmem-map --target-dir target/fallback

# The interleavings of the concurrent containers.
loom:
    RUSTFLAGS="--cfg loom --cfg crossbeam_loom" cargo test --release -p pmem-collections --features crossbeam-epoch/loom --test loom --target-dir target/loom -- --nocapture

# Undefined behaviour in the unsafe code. Needs a nightly toolchain with Miri (`rustup +nightly component add miri`).
miri:
    MIRIFLAGS="-Zmiri-disable-isolation" cargo +nightly miri test -p pmem-alloc --test soundness
