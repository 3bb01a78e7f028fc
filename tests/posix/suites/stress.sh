about="stress-ng: its file stressors, each with checks"
needs=(stress-ng=stress-ng)
size=2G

# Those of its class "filesystem" and of others that work on files, without those of what is no file of the mount (bind-mount, binderfs,
# eventfd, ioprio, procfs), and those that the kernel's FUSE does not carry (fiemap, verity).
stressors=(access aio chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup fallocate fanotify fcntl file-ioctl
    filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify io iomix lease link locka lockf lockofd mknod msync open
    readahead rename revio seek sendfile symlink sync-file touch unlink utime xattr)

suite() {
    local seconds=1 instances=2 known chosen=() name
    [ "$FULL" = 0 ] || seconds=10
    known=" $(stress-ng --stressors) "
    for name in "${stressors[@]}"; do
        if [[ "$known" == *" $name "* ]]; then chosen+=("$name"); else echo "this stress-ng has no $name"; fi
    done
    mkdir "$mnt/stress"
    for name in "${chosen[@]}"; do
        stress-ng "--$name" $instances --timeout "$seconds" --temp-path "$mnt/stress" --verify --oom-avoid $(bounded "$name") 2>&1 |
            tee "$SCRATCH/said" || fail "$name"
        ! grep -E 'stress-ng: (fail|error)|aborted early' "$SCRATCH/said" || fail "$name"
    done
    [ -z "$(ls -A "$mnt/stress")" ] || fail "left behind: $(ls "$mnt/stress")"
    say "${#chosen[@]} stressors, $seconds s each"
}

# Sizes that fit into the volume.
bounded() {
    case "$1" in
        copy-file) echo "--$1-bytes 128M" ;;
        hdd | iomix | readahead | revio | fallocate) echo "--$1-bytes 64M" ;;
    esac
}
