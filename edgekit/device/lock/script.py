"""The shell scripts of a board: its lock and its steps, for any POSIX shell with coreutils, util-linux, findutils."""

from __future__ import annotations

COMMON = r"""
started() { s=$(cat "/proc/$1/stat" 2>/dev/null) && set -- ${s##*) } && echo "${20}"; }
now() { read -r up _ </proc/uptime; echo "${up%%.*}"; }
boot=$(cat /proc/sys/kernel/random/boot_id)
lease() { printf '%s %s %s\n%s\n' "$1" "$boot" "$(($(now) + $2))" "$3" >lease.new && mv -f lease.new lease; }
"""

TAKE = r"""
folder=$1 token=$2 idle=$3 holder=$4 steal=$5
mkdir -p -- "$folder" && cd -- "$folder" || exit 1
if [ ! -e edgekit-device ]; then
  [ -z "$(ls -A)" ] || { echo foreign; exit 0; }
  echo "edgekit's folder for runs on this device; edgekit removes it with --clean" >edgekit-device || exit 1
fi
for tool in flock timeout setsid sha256sum tar find df; do
  command -v $tool >/dev/null || { echo "missing $tool"; exit 0; }
done
exec 9>>edgekit-device && flock 9 || exit 1
if [ -s lease ] && { read -r owner when until; read -r who; } <lease; then
  if [ "$when" = "$boot" ] && [ "$(now)" -lt "$until" ] && [ "$owner" != "$steal" ]; then
    printf 'held %s %s\n%s\n' "$owner" "$((until - $(now)))" "$who"
    exit 0
  fi
fi
lease "$token" "$idle" "$holder" || exit 1
mkdir -p jobs && for job in jobs/*; do
  [ -s "$job" ] && read -r pid start <"$job" && [ "$(started "$pid")" = "$start" ] && {
    kill -s TERM -- "-$pid"
    for _ in 1 2 3 4 5 6 7 8 9 10; do [ "$(started "$pid")" = "$start" ] || break; sleep 0.2; done
    kill -s KILL -- "-$pid"
    echo "ended ${job##*/}"
  } 2>/dev/null
  rm -f -- "$job"
done
find . -name '*.edgekit-part' -exec rm -rf -- {} + 2>/dev/null
printf 'taken %s %s\n' "$boot" "$(pwd -P)"
"""

KEEP = r"""
folder=$1 token=$2 lasts=$3 since=$4 holder=$5; shift 5
say() { printf '%s %s\n' "$token" "$*" >&2; exit 0; }
[ "$boot" = "$since" ] || say rebooted
cd -- "$folder" 2>/dev/null || say gone
owner=$token
(
  exec 9>>edgekit-device && flock 9 || exit 1
  [ ! -s lease ] || { read -r owner when until; read -r who; } <lease
  [ "$owner" = "$token" ] || { printf '%s taken %s\n' "$token" "$who" >&2; exit 3; }
  lease "$token" "$lasts" "$holder"
)
case $? in 0) ;; 3) exit 0 ;; *) exit 1 ;; esac
"""

KEPT = r"""
say ended 0
"""

STEP = r"""
name=$1 limit=$2; shift 2
job=jobs/$name.$token
exec 3<&0
setsid timeout -k 5 "$limit" "$@" </dev/null 3<&- &
pid=$!
trap '' PIPE
echo "$pid $(started "$pid")" >"$job" || { kill -s KILL -- "-$pid"; exit 1; }
( read -r _ <&3
  read -r owner _ <lease && [ "$owner" = "$token" ] && rm -f lease
  kill -s TERM -- "-$pid" ) >/dev/null 2>&1 &
dog=$!
begun=$(now)
wait "$pid"; code=$?
kill "$dog" 2>/dev/null
kill -s KILL -- "-$pid" 2>/dev/null
rm -f -- "$job"
case $code in 124|137) [ $(($(now) - begun + 1)) -lt "${limit%.*}" ] || say late ;; esac
printf '%s ended %s\n' "$token" "$code" >&2
"""

LEAVE = r"""
cd -- "$1" 2>/dev/null || exit 0
exec 9>>edgekit-device && flock 9 || exit 1
read -r owner _ <lease 2>/dev/null && [ "$owner" = "$2" ] && rm -f lease
exit 0
"""

CLEAN = r"""
cd -- "$1" 2>/dev/null || exit 0
[ -e edgekit-device ] || exit 3
cd .. && rm -rf -- "$1"
"""
