# What the SSH server runs for every session, whatever the client asks for: the same on the emulated board.
# Usage: login.sh PIDFILE NEW CPU
read -r init <"$1" || { echo "the board is off" >&2; exit 255; }
export QEMU_CPU="$3" HOME=/home/pi USER=pi LOGNAME=pi SHELL=/bin/sh PATH=/usr/bin:/bin
unset LD_LIBRARY_PATH
exec nsenter --preserve-credentials -U -m -p -t "$init" -- /usr/sbin/chroot "$2" /bin/sh -c "${SSH_ORIGINAL_COMMAND:-exec /bin/sh -l}"
