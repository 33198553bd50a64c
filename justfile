# List the recipes
default:
    @just --list

# Format everything
fmt:
    cargo fmt --all

# Lint everything; a warning is an error
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Run all tests, or those whose name contains NAME
test NAME="":
    cargo test --workspace {{NAME}}

# Run N fresh schedules of the simulation, and say how many a second
sim N="10000":
    SIM_SCHEDULES={{N}} cargo test --profile sim --test simulation fresh_seeds -- --nocapture

# Check the rules that only reading the source can check
tidy:
    cargo test --test tidy -- --nocapture

# Build the documentation and open it
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --open

# Break real processes and their lines for so many seconds, or until so many jobs are paid
chaos SECONDS="600" JOBS="100000":
    CHAOS_SECONDS={{SECONDS}} CHAOS_JOBS={{JOBS}} cargo test --test chaos -- --nocapture every_paid

# Watch one whole sale on loopback
demo:
    cargo run --release --bin worker -- demo

# Build all programs for release
build:
    cargo build --release --workspace

# Measure
bench:
    cargo bench --workspace

# Check licences and advisories (needs cargo-deny and its advisory database)
deny:
    cargo deny check

# Fuzz everything that reads, for SECONDS over all targets (fuzz/, docs/testing.md)
fuzz SECONDS="780":
    .ci/fuzz {{SECONDS}}

# Test the tests by mutation: of AREAs, or of all that decides about money (docs/testing.md)
mutants *AREAS:
    .ci/mutants {{AREAS}}

# Everything that continuous integration does
ci:
    .ci/run
