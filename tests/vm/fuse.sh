#!/bin/sh
# In the guest: a volume on persistent memory, mounted by FUSE. `tests/vm/run --add target/release/nova tests/vm/fuse.sh`.
# Files are written, read, and read again by the next mount; a daemon that is killed loses nothing; fsck finds nothing wrong.
# Unmounted in order, and not. On a file of the DAX filesystem, and where nothing is mounted (--fs none) on /dev/pmem0 itself.
set -eu
if [ -n "${PMEM_TEST_DIR:-}" ]; then
    image="$PMEM_TEST_DIR/fuse.nova"
    expected="durable by CacheLine, and survive what Power says"
    ./nova mkfs --size 64M "$image"
else
    image="$PMEM_TEST_BLOCK_DEVICE"
    expected="durable by Page, and survive what Power says"
    ./nova mkfs --force "$image"
fi
dir=/tmp/mounted
mkdir -p "$dir"

mounts() {
    ./nova mount --background --threads 1 "$image" "$dir" >/tmp/said
    cat /tmp/said
    grep -q "$expected" /tmp/said || { echo "FAILED: it should say: $expected"; exit 1; }
}
same() { (cd "$dir" && sha256sum -c -s /tmp/sums) || { echo "FAILED: $1: files have other content"; exit 1; }; }

mounts
mkdir -p "$dir/a/b"
for n in 1 2 3 4 5 6 7 8 9 10; do
    head -c "$((n * n * 1000))" /dev/urandom >"$dir/a/$n"
done
cp /bin/busybox "$dir/a/b/busybox"
chmod 755 "$dir/a/b/busybox"
mv "$dir/a/3" "$dir/a/b/three"
ln "$dir/a/4" "$dir/a/b/four"
ln -s ../5 "$dir/a/b/five"
rm "$dir/a/6"
dd if=/dev/urandom of="$dir/a/synced" bs=4096 count=100 conv=fsync 2>/dev/null
dd if=/dev/urandom of="$dir/a/synced" bs=1000 seek=33 count=3 conv=notrunc,fsync 2>/dev/null # in the middle
(cd "$dir" && find . -type f -exec sha256sum {} +) >/tmp/sums
same "as written"
"$dir/a/b/busybox" true
./nova umount "$dir"
./nova fsck "$image"

mounts
same "mounted again"
[ "$(readlink "$dir/a/b/five")" = ../5 ] && [ ! -e "$dir/a/6" ] && [ "$(stat -c %h "$dir/a/4")" = 2 ]
# What a call of the system that returned did survives the daemon.
head -c 50000 /dev/urandom >/tmp/last
dd if=/tmp/last of="$dir/last" conv=fsync 2>/dev/null
(cd "$dir" && sha256sum last) >>/tmp/sums
kill -9 "$(pidof nova)"
umount "$dir"
mounts
same "after the daemon was killed"
./nova umount "$dir"
./nova fsck "$image"
echo "ok fuse     $(wc -l </tmp/sums) files on $image, mounted three times, the daemon killed once"
