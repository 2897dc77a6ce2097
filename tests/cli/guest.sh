#!/bin/bash
# The bootable test guest on real QEMU: started from a ROM and from a disk, on both machines, stopped wherever it was,
# its memory is as predicted; also after it was migrated, and when it ran on.
set -u
export LC_ALL=C
failed=0
work=$(mktemp -d)
running=()
trap 'kill "${running[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT

complain() {
	echo "$1"
	failed=1
}

# STATUS PATTERN COMMAND...: ends so, and says so.
expect() {
	local status=$1 pattern=$2
	shift 2
	"$@" >"$work/out" 2>&1
	local got=$?
	[ $got -eq "$status" ] || complain "$*: expected status $status, found $got: $(cat "$work/out")"
	grep -qE -- "$pattern" "$work/out" || complain "$*: expected $pattern, found: $(cat "$work/out")"
}

# SECONDS COMMAND...: until it holds.
wait_for() {
	local limit=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $limit ] || {
			complain "waited in vain: $*"
			return 1
		}
		sleep 0.1
	done
}

# ---- What is said on the command line

expect 2 'either -o IMAGE or MEMORY' "$MIGREF" guest
expect 2 'either -o IMAGE or MEMORY' "$MIGREF" guest -o "$work/image" "$work/memory"
expect 2 'with -o only' "$MIGREF" guest --seed 3 "$work/memory"
expect 2 'with -o only' "$MIGREF" guest --disk "$work/memory"
expect 2 'no pattern of the guest is called trace' "$MIGREF" guest -o "$work/image" --vcpu all:trace
expect 2 'expected WHICH:PATTERN, found idle' "$MIGREF" guest -o "$work/image" --vcpu idle
expect 2 'expected KEY=NUMBER, found lag' "$MIGREF" guest -o "$work/image" --vcpu 0:idle,lag
expect 2 'no key is called speed' "$MIGREF" guest -o "$work/image" --vcpu 0:idle,speed=3
expect 2 'a number up to 15, found 16' "$MIGREF" guest -o "$work/image" --vcpu 16:idle
expect 2 'expected 4 numbers, found 3' "$MIGREF" guest -o "$work/image" --shares 1,2,997
expect 3 'No such file' "$MIGREF" guest "$work/memory"
head -c 40000 /dev/zero >"$work/memory"
expect 3 'expected a status page' "$MIGREF" guest "$work/memory"

"$MIGREF" guest -o "$work/image" 2>"$work/err" || {
	cat "$work/err"
	[ $failed -eq 0 ] && exit 77
	exit 1
}

# ---- What a scenario says, and what of it the guest has not

cat >"$work/guest.ini" <<'INI'
[scenario]
seed = 77
[guest]
vcpus = 3
contents = zero:100 constant:200 text:300 random:400
[block mem]
size = 6M
[block other]
size = 1M
[workload hot]
vcpus = 0-1
block = mem
pattern = zipf
interval = 2us
writes = 700
[workload scan]
vcpus = 2
block = mem
pattern = sequential
interval = 5us
INI
"$MIGREF" guest -o "$work/a" --scenario "$work/guest.ini" || complain 'a scenario makes no image'
rest=stride=2,working-set=1536,phase=1000,lag=0,burst=100,pause=1000,first=0,pages=1536
"$MIGREF" guest -o "$work/b" --seed 77 --vcpus 3 --pages 1536 --shares 100,200,300,400 --filled 700 \
	--vcpu all:idle,writes=0,spins=0,stride=0,working-set=0,phase=0,lag=0,burst=0,pause=0,first=0,pages=0 \
	--vcpu 0:zipf,writes=700,spins=2000,$rest --vcpu 1:zipf,writes=700,spins=2000,$rest \
	--vcpu 2:sequential,writes=500,spins=5000,$rest
"$MIGREF" guest -o "$work/c" --scenario "$work/guest.ini" --seed 78
cmp "$work/a" "$work/b" || complain 'a scenario makes another image than its parameters'
cmp -s "$work/a" "$work/c" && complain 'an option behind the scenario changes nothing'
expect 3 'no.ini: ' "$MIGREF" guest -o "$work/image" --scenario "$work/no.ini"
sed 's/vcpus = 2/vcpus = 2\nblock = other/; /\[workload scan/,$s/^block = mem$//' "$work/guest.ini" >"$work/two.ini"
expect 3 'workload scan.*expected block mem, .*found other' "$MIGREF" guest -o "$work/image" --scenario "$work/two.ini"
sed 's/^vcpus = 3/vcpus = 17/' "$work/guest.ini" >"$work/many.ini"
expect 3 'vcpus: expected at most 16' "$MIGREF" guest -o "$work/image" --scenario "$work/many.ini"
expect 2 'with -o only' "$MIGREF" guest --scenario "$work/guest.ini" "$work/memory"

expect 2 'vCPU 3: the pattern' "$MIGREF" guest -o "$work/image" --vcpu 3:strided,stride=0
expect 3 'No such file' "$MIGREF" guest -o "$work/nowhere/image"
if ! command -v qemu-system-x86_64 >/dev/null; then
	echo "no qemu-system-x86_64"
	[ $failed -eq 0 ] && exit 77
	exit 1
fi

# ---- Guests

# NAME ARGUMENTS...: QEMU, with 16 MiB in the file NAME.
start() {
	local name=$1
	shift
	mkfifo "$work/$name.in"
	: >"$work/$name.qmp"
	qemu-system-x86_64 -accel tcg -m 16M -nodefaults -vga none -display none -qmp stdio \
		-object "memory-backend-file,id=mem,share=on,mem-path=$work/$name,size=16M" \
		-machine memory-backend=mem "$@" <"$work/$name.in" >>"$work/$name.qmp" 2>"$work/$name.err" &
	running+=($!)
	exec {input}>"$work/$name.in"
	inputs[$name]=$input
	ask "$name" qmp_capabilities
}

declare -A inputs

replies() { # NAME COUNT
	[ "$(grep -cE '^\{"(return|error)"' "$work/$1.qmp")" -ge "$2" ]
}

ask() { # NAME COMMAND [ARGUMENTS]
	local before
	before=$(grep -cE '^\{"(return|error)"' "$work/$1.qmp")
	echo "{\"execute\": \"$2\"${3:+, \"arguments\": $3}}" >&"${inputs[$1]}"
	wait_for 20 replies "$1" $((before + 1))
}

# NAME VCPUS TOUCHES: each vCPU has made more than so many.
has_touched() {
	"$MIGREF" guest "$work/$1" 2>/dev/null | awk -v vcpus="$2" -v touches="$3" '
		/^vCPU/ { for (i = 1; i < NF; i++) if ($(i + 1) == "touches" || $(i + 1) == "touches,") n += $i > touches }
		END { exit n != vcpus }'
}

heartbeat() { # NAME
	"$MIGREF" guest "$work/$1" | awk '/^vCPU/ { sum += $NF } END { print sum }'
}

end() { # NAME
	ask "$1" quit
	exec {inputs[$1]}>&-
}

# NAME: stops the guest and judges it.
judge() {
	ask "$1" stop
	expect 0 '^memory is as predicted' "$MIGREF" guest "$work/$1"
}

# ---- From the ROM, then migrated

"$MIGREF" guest -o "$work/image" --seed 7 --pages 3000 --vcpu 1:zipf --vcpu 2:sequential,first=100,pages=500 \
	--vcpu 3:strided,stride=7,writes=1000,spins=100 || complain "no image"
start source -M pc -smp 4 -bios "$work/image"
wait_for 30 has_touched source 4 100
judge source
before=$(heartbeat source)
ask source migrate "{\"uri\": \"exec:cat >$work/stream\"}"
migrated() {
	ask source query-migrate
	tail -n 1 "$work/source.qmp" | grep -q '"status": "completed"'
}
wait_for 30 migrated
start destination -M pc -smp 4 -bios "$work/image" -incoming "exec:cat $work/stream"
arrived() {
	ask destination query-status
	tail -n 1 "$work/destination.qmp" | grep -q '"status": "paused"'
}
wait_for 30 arrived
expect 0 '^memory is as predicted' "$MIGREF" guest "$work/destination"
[ "$(heartbeat destination)" = "$before" ] || complain "the heartbeat came changed"
done=$("$MIGREF" guest "$work/destination" | awk '/^vCPU/ { sub(/ touches.*/, ""); if ($NF > m) m = $NF } END { print m }')
ask destination cont
wait_for 30 has_touched destination 4 "$done"
judge destination
[ "$(heartbeat destination)" -gt "$before" ] || complain "the heart stopped at $before"
end source
end destination

# ---- From a disk

"$MIGREF" guest -o "$work/image" --disk --vcpus 2 --vcpu all:random,writes=500 --vcpu 1:producer || complain "no image"
start disk -M q35 -smp 3 -drive "file=$work/image,format=raw,snapshot=on"
wait_for 30 has_touched disk 2 100
judge disk
end disk

# ---- What is wrong is found

byte_at() { # OFFSET VALUE
	printf "%b" "\\x$2" | dd of="$work/disk" bs=1 seek="$1" conv=notrunc status=none
}
last=$((0x100000 + 2047 * 4096 + 4095))
old=$(od -An -tu1 -j $last -N 1 "$work/disk")
byte_at $last "$(printf %x $((old ^ 1)))"
expect 1 'page 0x7ff at 0x8ff000: expected version' "$MIGREF" guest "$work/disk"
byte_at $last "$(printf %x "$old")"
expect 0 '^memory is as predicted' "$MIGREF" guest "$work/disk"

# ---- What the guest refuses

"$MIGREF" guest -o "$work/image" --pages 5000 || complain "no image"
start small -M pc -bios "$work/image"
refused() {
	"$MIGREF" guest "$work/small" 2>&1 | grep -q 'too little memory for the region'
}
wait_for 30 refused
end small

exit $failed
