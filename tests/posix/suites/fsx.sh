about="fsx: reads, writes, mappings, holes and copies of one file at random, compared with what it should hold"
crates=(fsx@0.3.2)
size=128M

suite() {
    local seeds=(1 2) operations=10000 seed
    if [ "$FULL" = 1 ]; then seeds=(1 2 3 4 5) operations=100000; fi
    for seed in "${seeds[@]}"; do
        printf 'seed %d: ' "$seed"
        fsx -q -f "$HERE/fsx.toml" -N "$operations" -S "$seed" -P "$SCRATCH" "$mnt/file-$seed"
    done
    say "$operations operations with each of the seeds ${seeds[*]}"
}
