#!/usr/bin/env bash
# The full cells of FedREDefense on FashionMNIST (convnet, 100 clients, 500 rounds) in pieces of at most ten minutes:
# all attacks against FedREDefense and against FedAvg. Meant for one accelerator.
#
#   examples/full_cells.sh OUT [options of `fedsiege reproduce`, such as --seeds 0 1 2 or --dry-run]
#   until examples/full_cells.sh runs; do [ $? = 75 ] || break; done      # piece after piece, to the end
#
# Each call is one piece and goes on where OUT stands, wherever that folder has been copied to. Exit status: 75 while
# cells remain, else that of `fedsiege reproduce`: 0 or 1 once all are finished, by its verdict. The tables lie in
# OUT/reproduced.
# PIECE is the length of a piece in seconds; the interrupted round of a piece that ran over is made again.
set -u
out=${1:?give the folder of the runs, such as runs}
shift
length=${PIECE:-570}

piece() {
    local left=$((length - SECONDS)) # SECONDS: since the start of this script
    [ $((3 * left)) -ge "$length" ] || return 75
    # Cells end after a whole round in --minutes; the interrupt is for a round that outlasts the piece.
    local minutes
    minutes=$(awk "BEGIN { print $left * 0.7 / 60 }")
    timeout --signal=INT --kill-after=20 "$left" \
        fedsiege reproduce "$@" --jobs 1 --minutes "$minutes" --out "$out"
    local status=$?
    case $status in
    124 | 137) return 75 ;; # ran over; 130 is somebody's Ctrl-C and ends a loop of pieces
    *) return $status ;;
    esac
}

piece icml24-table1 --cells 'convnet/fashion-mnist/*/redefense/*' "$@"
first=$?
[ $first -le 1 ] || exit $first
piece icml24-table2 --cells 'convnet/fashion-mnist/*/none/*' "$@"
second=$?
[ $second = 0 ] && exit $first
exit $second
