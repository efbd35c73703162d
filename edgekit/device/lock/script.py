"""The shell scripts of a device's lock and of its steps, for a POSIX shell with coreutils, util-linux and findutils."""

from __future__ import annotations

MARK = "edgekit's folder for runs on this device; edgekit removes it with --clean"
"""The content of `edgekit-device`: a file of that name alone makes no folder edgekit's."""

COMMON = (
    f"""
marked() {{ read -r mark <edgekit-device && [ "$mark" = "{MARK}" ]; }} 2>/dev/null
"""
    + r"""
started() { s=$(cat "/proc/$1/stat" 2>/dev/null) && set -- ${s##*) } && echo "${20}"; }
now() { read -r up _ </proc/uptime; echo "${up%%.*}"; }
boot=$(cat /proc/sys/kernel/random/boot_id)
lease() { printf '%s %s %s\n%s\n' "$1" "$boot" "$(($(now) + $2))" "$3" >lease.new && mv -f lease.new lease; }
"""
)

ACQUIRE = r"""
folder=$1 token=$2 idle=$3 self=$4 steal=$5
mkdir -p -- "$folder" && cd -- "$folder" || exit 1
if [ -z "$(ls -A)" ]; then echo "MARK" >edgekit-device || exit 1; fi
marked || { sleep 1; marked; } || { echo foreign; exit 0; }  # another run may be writing it just now
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
lease "$token" "$idle" "$self" || exit 1
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
printf 'acquired %s %s\n' "$boot" "$(pwd -P)"
""".replace("MARK", MARK)

EXTEND = r"""
folder=$1 token=$2 lease_s=$3 since=$4 self=$5; shift 5
report() { printf '%s %s\n' "$token" "$*" >&2; exit 0; }
[ "$boot" = "$since" ] || report rebooted
cd -- "$folder" 2>/dev/null || report gone
owner=$token
(
  exec 9>>edgekit-device && flock 9 || exit 1
  [ ! -s lease ] || { read -r owner when until; read -r who; } <lease
  [ "$owner" = "$token" ] || { printf '%s taken %s\n' "$token" "$who" >&2; exit 3; }
  lease "$token" "$lease_s" "$self"
)
case $? in 0) ;; 3) exit 0 ;; *) exit 1 ;; esac
"""

EXTENDED = r"""
report ended 0
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
watchdog=$!
started_at=$(now)
wait "$pid"; code=$?
kill "$watchdog" 2>/dev/null
kill -s KILL -- "-$pid" 2>/dev/null
rm -f -- "$job"
case $code in 124|137) [ $(($(now) - started_at + 1)) -lt "${limit%.*}" ] || report late ;; esac
printf '%s ended %s\n' "$token" "$code" >&2
"""

RELEASE = r"""
cd -- "$1" 2>/dev/null || exit 0
exec 9>>edgekit-device && flock 9 || exit 1
read -r owner _ <lease 2>/dev/null && [ "$owner" = "$2" ] && rm -f lease
exit 0
"""

OWN = ("edgekit-device", "lease", "lease.new", "jobs", "bundles", "kept", "env", "packages", "wheels", "tmp")
"""The names in the folder that edgekit writes; `wheels` is of an earlier version."""

CLEAN = r"""
folder=$1; shift
cd -- "$folder" 2>/dev/null || exit 0
marked || { echo "it is not marked as edgekit's" >&2; exit 3; }
for entry in * .[!.]* ..?*; do
  [ -e "$entry" ] || [ -L "$entry" ] || continue
  case $entry in *.edgekit-part) continue ;; esac
  for own; do [ "$entry" = "$own" ] && continue 2; done
  echo "it holds '$entry', which is not edgekit's" >&2; exit 3
done
cd .. && rm -rf -- "$folder"
"""
