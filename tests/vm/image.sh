# What the guest boots: a kernel, and an initramfs of busybox, modules and the command. Read by tests/vm/run.

needs=(qemu-system-x86_64=qemu-system-x86 busybox=busybox-static cpio=cpio xz=xz-utils mkfs.ext4=e2fsprogs)
modules=(libnvdimm nd_btt nfit nd_pmem device_dax dax_pmem ext4 virtio_pci virtio_blk fuse)
[ "$fs" != xfs ] || { needs+=(mkfs.xfs=xfsprogs) modules+=(xfs); }
PATH="$PATH:/usr/sbin:/sbin"

install_missing() {
    local need packages=()
    for need in "${needs[@]}"; do command -v "${need%%=*}" >/dev/null || packages+=("${need##*=}"); done
    [ ${#packages[@]} != 0 ] || return 0
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0 # what_is_missing says it
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null || true
}

# A list in words; empty if nothing is missing.
what_is_missing() {
    local need list=()
    [ "$(uname -sm)" = "Linux x86_64" ] || list+=("Linux on x86-64")
    for need in "${needs[@]}"; do command -v "${need%%=*}" >/dev/null || list+=("${need%%=*}"); done
    if [ -z "${VM_KERNEL:-}" ] && [ ! -e "$cache/kernel/vmlinuz" ] && ! command -v apt-get >/dev/null; then
        list+=("a kernel in VM_KERNEL and VM_MODULES")
    fi
    [ ${#list[@]} = 0 ] || printf '%s, ' "${list[@]}" | sed 's/, $//'
}

# The package that one of the usual names stands for.
kernel_package() {
    local name package
    for name in linux-image-cloud-amd64 linux-image-amd64 linux-image-virtual linux-image-generic; do
        package="$(apt-cache depends "$name" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')"
        if [ -n "$package" ]; then echo "$package"; return; fi
    done
}

# Downloads a kernel package and unpacks it to $cache/kernel.
unpack_kernel() {
    [ ! -e "$cache/kernel/vmlinuz" ] || return 0
    local work="$scratch/kernel" package name
    mkdir -p "$work/package"
    package="$(kernel_package)"
    if [ -z "$package" ] && [ $install = 1 ] && [ "$(id -u)" = 0 ]; then
        apt-get update -qq >/dev/null 2>&1 || true
        package="$(kernel_package)"
    fi
    if [ -z "$package" ]; then
        echo "tests/vm/run: apt-cache knows no kernel package; try apt-get update, or name a kernel by VM_KERNEL and VM_MODULES" >&2
        return 1
    fi
    echo "vm: downloading $package" >&2
    (
        cd "$work/package"
        apt-get download -q "$package" >"$scratch/download" 2>&1 || { cat "$scratch/download" >&2; echo "tests/vm/run: $package cannot be downloaded" >&2; exit 1; }
        # Ubuntu has the modules in a package of their own.
        for name in "${package/linux-image-/linux-modules-}" "${package/linux-image-/linux-modules-extra-}"; do
            ! apt-cache show "$name" >/dev/null 2>&1 || apt-get download -q "$name" >/dev/null 2>&1
        done
        for name in ./*.deb; do dpkg -x "$name" "$work/files"; done
    ) || return 1
    mkdir "$work/done"
    cp "$work"/files/boot/vmlinuz-* "$work/done/vmlinuz" || return 1
    cp -r "$work"/files/lib/modules/* "$work/done/modules" 2>/dev/null ||
        cp -r "$work"/files/usr/lib/modules/* "$work/done/modules" || return 1
    rm -rf "$cache/kernel"
    mv "$work/done" "$cache/kernel"
}

# The path of a module, if it is one.
module_file() { find "$module_folder/" -name "$1.ko*" -print -quit; }

unpacked() {
    case "$1" in
        *.xz) xz -dc "$1" ;;
        *.gz) gzip -dc "$1" ;;
        *.zst) zstd -dcq "$1" ;;
        *) cat "$1" ;;
    esac
}

# add_module NAME: after those that it depends on. What is built into the kernel has no file.
add_module() {
    local name="${1//-/_}" file needed
    [ -z "${added[$name]:-}" ] || return 0
    added[$name]=1
    file="$(module_file "$name")"
    [ -n "$file" ] || file="$(module_file "${name//_/-}")"
    [ -n "$file" ] || return 0
    unpacked "$file" >"$base/modules/$name.ko"
    for needed in $(tr '\0' '\n' <"$base/modules/$name.ko" | sed -n 's/^depends=//p' | tr , ' '); do add_module "$needed"; done
    echo "$name.ko" >>"$base/modules/order"
}

# copy_program FOLDER FILE...: programs, and the libraries that they are linked with
copy_program() {
    local folder="$1" file
    shift
    for file in "$@"; do
        cp --parents -L "$file" "$folder"
        copy_libraries "$folder" "$file"
    done
}
copy_libraries() {
    local library
    for library in $(ldd "$2" 2>/dev/null | grep -oE '/[^ ]+' | sort -u); do
        [ ! -e "$library" ] || cp --parents -L "$library" "$1"
    done
}

pack() { (cd "$1" && find . | cpio -o -H newc --quiet); }

# What is the same for every run: $cache/base-FS.cpio, newer than what it is made of.
base_image() {
    if [ -n "${VM_KERNEL:-}" ]; then
        kernel="$VM_KERNEL" module_folder="${VM_MODULES:-/lib/modules/$(uname -r)}"
    else
        unpack_kernel || return 1
        kernel="$cache/kernel/vmlinuz" module_folder="$cache/kernel/modules"
    fi
    base_cpio="$scratch/base.cpio"
    if [ -z "${VM_KERNEL:-}" ]; then
        base_cpio="$cache/base-$fs.cpio"
        [ "$base_cpio" -nt "$here/image.sh" ] && [ "$base_cpio" -nt "$here/init" ] && [ "$base_cpio" -nt "$kernel" ] && return 0
    fi
    base="$scratch/base"
    declare -gA added=()
    mkdir -p "$base"/{bin,dev,proc,sys,mnt,disk,tmp,modules,job}
    cp -L "$(command -v busybox)" "$base/bin/busybox"
    copy_libraries "$base" "$(command -v busybox)"
    copy_program "$base" "$(command -v mkfs.ext4)"
    mkdir -p "$base/usr/sbin"
    cp -L "$(command -v mkfs.ext4)" "$base/usr/sbin/"
    if [ "$fs" = xfs ]; then copy_program "$base" "$(command -v mkfs.xfs)"; fi
    local module
    : >"$base/modules/order"
    for module in "${modules[@]}"; do add_module "$module"; done
    cp "$here/init" "$base/init"
    chmod +x "$base/init"
    pack "$base" >"$scratch/packed" && mv "$scratch/packed" "$base_cpio"
    rm -rf "$base"
    [ -s "$base_cpio" ]
}

# job_image [ARGUMENT]...: what this run adds; both together are $scratch/initrd. `settings`, an array, is for the guest.
settings=()
job_image() {
    local job="$scratch/job" file keep=0
    rm -rf "$job"
    mkdir -p "$job/job"
    cp -L "$program" "$job/job/$(basename "$program")"
    chmod +x "$job/job/$(basename "$program")"
    copy_libraries "$job" "$program"
    for file in "${add[@]}"; do
        cp -rL "$file" "$job/job/"
        [ ! -x "$file" ] || [ -d "$file" ] || copy_libraries "$job" "$file"
    done
    [ "$pmem" = "$scratch/pmem" ] && [ "$cuts" = 0 ] || keep=1
    {
        printf 'fs=%s\nkeep=%s\nexport VM_PERSISTENCE=%s\n' "$fs" "$keep" "$persistence"
        [ ${#settings[@]} = 0 ] || printf 'export %s\n' "${settings[@]}"
    } >"$job/job/settings"
    {
        case "$(head -c 2 "$program" | tr -d '\0')" in '#!') printf 'exec sh ' ;; *) printf 'exec ' ;; esac
        printf '%q ' "./$(basename "$program")" "$@"
        echo
    } >"$job/job/run"
    { cat "$base_cpio"; pack "$job"; } >"$scratch/initrd"
}
