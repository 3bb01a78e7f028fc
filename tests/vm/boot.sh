# Starts the emulator, and follows it to its end. Read by tests/vm/run.

console="$scratch/console" # what the kernel and init say

# Keeps the console of a boot that went wrong, and says where.
keep_console() {
    cp "$console" "$cache/console.log"
    echo "tests/vm/run: $*; the guest's console is in $cache/console.log" >&2
}

# start ACCELERATOR: in the background; sets $emulator. (no_timer_check: on a busy host the timer may be late, and a kernel that
# looks at that ends by "IO-APIC + timer doesn't work".)
start() {
    local machine="q35,nvdimm=on,accel=$1" cpu=max size memory=640
    [ "$1" = tcg ] || cpu=host
    [ "$persistence" = none ] || machine+=",nvdimm-persistence=$persistence"
    size=$(($(stat -L -c %s "$pmem") >> 20))
    memory=$((memory + $(stat -c %s "$scratch/initrd") * 2 / 1048576)) # unpacked, beside what is packed
    : >"$console"
    : >"$scratch/output"
    qemu-system-x86_64 -machine "$machine" -cpu "$cpu" -smp "${VM_CPUS:-1}" \
        -m "${memory}M,slots=4,maxmem=$((memory + size + 1024))M" \
        -object "memory-backend-file,id=m0,share=on,mem-path=$pmem,size=${size}M,align=2M" -device nvdimm,memdev=m0,id=nv0 \
        -object "memory-backend-file,id=m1,share=on,mem-path=$scratch/dax,size=64M,align=2M" -device nvdimm,memdev=m1,id=nv1 \
        -drive "if=none,id=d0,file=$disk,format=raw,cache=writeback" -device virtio-blk-pci,drive=d0 \
        -nodefaults -no-reboot -display none -kernel "$kernel" -initrd "$scratch/initrd" \
        -append "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off random.trust_cpu=on" \
        -serial "file:$console" -serial "file:$scratch/output" </dev/null 2>"$scratch/emulator" &
    emulator=$!
}

alive() { kill -0 "$emulator" 2>/dev/null; }
cut_power() {
    kill -9 "$emulator" 2>/dev/null || true
    wait "$emulator" 2>/dev/null || true
    emulator=""
}

# Starts the guest: by KVM, if it shows a sign of life within 5 seconds, else with an emulated processor.
boot() {
    if [ -z "$accel" ] && [ -w /dev/kvm ]; then
        start kvm
        local tenth
        for tenth in {1..50}; do
            if ! alive || grep -q VM-INIT "$console"; then break; fi
            sleep 0.1
        done
        if grep -q VM-INIT "$console"; then accel=kvm; return; fi
        cut_power
    fi
    if [ -z "$accel" ]; then
        echo "vm: KVM does not run here; the processor is emulated" >&2
        accel=tcg
    fi
    start "$accel"
}

console_word() { tr -d '\r' <"$console" | awk -v word="$1" '$1 == word { $1 = ""; print substr($0, 2); exit }'; }

# Prints what the command prints until the guest ends; returns the command's exit code.
wait_for_end() {
    local deadline=$((SECONDS + limit)) follower failed exited
    tail -n +1 -f -s 0.1 --pid="$emulator" "$scratch/output" | sed -u 's|\r$||' &
    follower=$!
    while alive; do
        if [ $SECONDS -ge $deadline ]; then
            cut_power
            wait $follower
            keep_console "the command did not end within $limit s (--limit)"
            return 125
        fi
        sleep 0.1
    done
    wait "$emulator" || true
    emulator=""
    wait $follower
    failed="$(console_word VM-FAILED)" exited="$(console_word VM-EXIT)"
    if [ -n "$failed" ]; then
        tail -n 5 "$console" >&2
        keep_console "$failed"
        return 125
    elif [ -z "$exited" ]; then
        keep_console "the guest ended before the command did"
        cat "$scratch/emulator" >&2
        return 125
    fi
    echo "vm: $accel, ready after $(console_word VM-READY) s, ended after ${exited#* } s with exit code ${exited% *}" >&2
    return "${exited% *}"
}
