about="cargo: a crate of this workspace, built, tested and built again inside the mount"
needs=(cc=gcc)
size=2G

suite() {
    mkdir "$mnt/source"
    tar -C "$ROOT" --exclude=./target --exclude=./.git -cf - . | tar -C "$mnt/source" -xf -
    cd "$mnt/source"
    export CARGO_TARGET_DIR="$mnt/target" CARGO_INCREMENTAL=1
    cargo build --locked -p pmem-map
    cargo test --locked -p pmem-map --lib
    cargo build --locked -p pmem-map 2>"$SCRATCH/said"
    ! grep Compiling "$SCRATCH/said" || fail "what is built is built again"
    touch pmem-map/src/lib.rs
    cargo build --locked -p pmem-map 2>"$SCRATCH/said"
    grep -q 'Compiling pmem-map' "$SCRATCH/said" || fail "what has changed is not built again"
    say "$(find "$mnt/target" -type f | wc -l) files built"
    cd /
}
