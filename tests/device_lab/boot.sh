# The emulated board boots: in an own user, mount and process name space it mounts what the board has, and stays.
# Usage: boot.sh NEW IMAGE STATE QEMU TMP_KB
set -eu
new=$1 image=$2 state=$3 qemu=$4 tmp_kb=$5
mount --bind "$image" "$new"
mount -o remount,bind,ro "$new"
mount -t proc proc "$new/proc"
mount --bind "$state/cpuinfo" "$new/proc/cpuinfo"
mount --bind "$state/boot_id" "$new/proc/sys/kernel/random/boot_id"
mount --rbind /dev "$new/dev"
mount --rbind "$state/sys" "$new/sys"
mount --bind "$state/home" "$new/home/pi"
mount -t tmpfs -o "size=${tmp_kb}k" tmpfs "$new/tmp"
mount -t tmpfs -o size=8m tmpfs "$new/run"
# From here on the kernel runs aarch64 programs in the emulator, in this user name space only. F opens the emulator now,
# as it is outside the board's root.
mount -t binfmt_misc binfmt_misc "$new/proc/sys/fs/binfmt_misc"
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s' ":edgekit-lab:M::$magic:$mask:$qemu:F" >"$new/proc/sys/fs/binfmt_misc/register"
echo "booted"
while :; do sleep 3600 & wait $!; done
