# Sourced by tuning/apply: what a number of connections needs of each kernel value. tuning/README.md has the reasons at
# length, and src/cli/doctor checks the same numbers.
#
#   compute      reads the host and sets the numbers, from `connections`, `dials` and `loops`
#   each_wish    calls `want PATH VALUE REASON` for each value
#   read_nofile  sets `nofile_have`, the hard limit on descriptors
#
# It reads below `root`, and changes nothing. A POSIX shell and cat are enough.

nl='
'

# ---- reading the host

# first_line FILE: sets `line` to the first line, fields divided by one blank; fails where there is none.
first_line() {
  line=
  [ -f "$1" ] || return 1
  # Not `read`: some shells read byte by byte, and a file of /proc/sys gives all it has to the first read.
  line=$(cat "$1" 2>/dev/null)
  line=${line%%"$nl"*}
  [ -n "$line" ] || return 1
  set -f
  # Unquoted: this is what divides the fields.
  set -- $line
  set +f
  line=$*
}

# number TEXT: sets `number`. What the shell's arithmetic might not hold (file-max is often 2^63 - 1) becomes 10^18 - 1.
number() {
  case $1 in
    '' | *[!0-9]*) number=0 ;;
    ???????????????????*) number=999999999999999999 ;;
    *) number=$1 ;;
  esac
}

# The second field of the first line of FILE that begins with WORD goes into `field`, else DEFAULT.
field_of() {
  field=$3
  [ -r "$1" ] || return 0
  while read -r word rest; do
    [ "$word" != "$2" ] || { field=${rest%% *}; return 0; }
  done <"$1"
}

count_cores() {
  cores=0
  if [ -r "$root/proc/cpuinfo" ]; then
    while read -r word _; do
      [ "$word" != processor ] || cores=$((cores + 1))
    done <"$root/proc/cpuinfo"
  fi
  [ "$cores" -gt 0 ] || cores=1
}

# Sets `nofile_have`: the hard limit on descriptors that whoever runs this has.
read_nofile() {
  nofile_have=
  [ -r "$root/proc/self/limits" ] || return 0
  while read -r a b c _soft hard _; do
    [ "$a $b $c" = "Max open files" ] || continue
    [ "$hard" != unlimited ] || hard=999999999999999999
    number "$hard"; nofile_have=$number
  done <"$root/proc/self/limits"
}

# ---- what N needs

# clamp VALUE MIN MAX: sets `clamped`.
clamp() {
  clamped=$1
  [ "$clamped" -ge "$2" ] || clamped=$2
  [ "$clamped" -le "$3" ] || clamped=$3
}

# round_up VALUE STEP: sets `rounded`.
round_up() { rounded=$((($1 + $2 - 1) / $2 * $2)); }

# square_root N: sets `root_of` to the whole part of it, by Newton's method from above.
square_root() {
  root_of=$1
  next=$(((root_of + 1) / 2))
  while [ "$next" -lt "$root_of" ]; do
    root_of=$next
    next=$(((root_of + $1 / root_of) / 2))
  done
}

compute() {
  count_cores
  [ -n "$loops" ] || loops=$cores
  sockets=$((connections + dials))
  # Sockets, and all else that runs on the host.
  files=$((sockets + 65536))
  # One loop might hold all; 64 in reserve, 64 links, and 4 for each of at most 256 loops.
  round_up $((connections + 1152)) 65536
  nofile=$rounded
  # What a loop needs when connections fall evenly, and more because they don't: 1/32, or six square roots of it where
  # that is more. The gateway picks loops by six square roots too, and the doctor reckons with four.
  share=$(((connections + loops - 1) / loops))
  square_root "$share"
  uneven=$((6 * root_of))
  [ "$uneven" -ge $((share / 32)) ] || uneven=$((share / 32))
  nofile_need=$((share + uneven + 128 + 4 * loops))
  # The kernel charges a page to each socket that has anything queued.
  field_of "$root/proc/self/smaps" KernelPageSize: 4
  number "$field"; page_kib=$number
  [ "$page_kib" -gt 0 ] || page_kib=4
  field_of "$root/proc/meminfo" MemTotal: 0
  number "$field"; memory_pages=$((number / page_kib))
  pages=$files
  pages_capped=
  if [ "$memory_pages" -gt 0 ] && [ $((pages * 3 / 2)) -gt $((memory_pages / 2)) ]; then
    pages=$((memory_pages / 3))
    pages_capped="; held down to half of the memory, so a message to everybody at once will be slow"
  fi
  clamp "$connections" 4096 65535
  backlog=$clamped
  packets=1024
  while [ "$packets" -lt $((connections / 64)) ] && [ "$packets" -lt 16384 ]; do packets=$((packets * 2)); done
  # Loaded or not, without a rule that needs it the kernel tracks nothing: then its table bounds nothing.
  tracked_now=0
  if first_line "$root/proc/sys/net/netfilter/nf_conntrack_count"; then number "$line"; tracked_now=$number; fi
  tracked=$((sockets + sockets / 4))
  # Where much else is tracked, that stays besides.
  [ "$tracked" -ge $((tracked_now + sockets)) ] || tracked=$((tracked_now + sockets))
  round_up $((tracked / 4)) 512
  buckets=$rounded
}

# Calls `want PATH VALUE REASON` for each value, in the order in which they are set.
each_wish() {
  want fs/nr_open "$nofile" "the most that a limit on descriptors may be raised to"
  want fs/file-max "$files" "open files of the whole host: a socket is one"
  want fs/epoll/max_user_watches "$files" "each connection is one watch of its loop's epoll"
  want net/ipv4/tcp_mem "$((pages * 3 / 4)) $pages $((pages * 3 / 2))" \
    "pages of queued bytes: one for each socket when all are sent to at once$pages_capped"
  want net/ipv4/tcp_rmem "4096 131072 2097152" "bounds, not reservations: a message of 1 MiB and its overhead"
  want net/ipv4/tcp_wmem "4096 16384 2097152" "bounds, not reservations: a message of 1 MiB and its overhead"
  want net/core/somaxconn "$backlog" "connections that wait to be accepted, for each loop, when all come back at once"
  want net/ipv4/tcp_max_syn_backlog "$backlog" "half-open connections, where SYN cookies are off"
  want net/core/netdev_max_backlog "$packets" "packets that wait for a core: loopback and RPS go through this queue"
  [ "$dials" = 0 ] || want net/ipv4/ip_local_port_range "10240 65535" "ports for the connections that this host opens"
  if [ "$tracked_now" -gt 0 ]; then
    want net/netfilter/nf_conntrack_max "$tracked" "conntrack drops what does not fit its table; better: notrack, see tuning/network.md"
    want net/netfilter/nf_conntrack_buckets "$buckets" "chains of four in conntrack's table"
  elif first_line "$root/proc/sys/net/netfilter/nf_conntrack_max"; then
    tell ok net.netfilter.nf_conntrack_max "$line" - "conntrack is loaded and tracks nothing: left alone; look again when there is a rule with state"
  fi
}
