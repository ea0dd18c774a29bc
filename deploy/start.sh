#!/bin/sh
# What a container does: serve (alone, or with its work on a Ray cluster), ray-head, or ray-worker.
set -eu

token_or_stop() {
    if [ "${RAY_AUTH_MODE:-}" != token ] || [ -z "${RAY_AUTH_TOKEN:-}" ]; then
        echo "start: a Ray cluster without a token runs anybody's code; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" >&2
        exit 2
    fi
}

mode=${1:-serve}
[ $# -eq 0 ] || shift
case "$mode" in
serve)
    if [ -n "${RAY_ADDRESS:-}" ]; then
        token_or_stop
        # Whoever drives a cluster must be a node of it; this one lends no CPUs.
        ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --disable-usage-stats
    fi
    exec winnow serve "$@"
    ;;
ray-head)
    token_or_stop
    unset RAY_ADDRESS
    exec ray start --head --block --port=6379 --num-cpus=0 --include-dashboard=false --disable-usage-stats "$@"
    ;;
ray-worker)
    token_or_stop
    exec ray start --address="${RAY_ADDRESS:?set it to the head, as in ray-head:6379}" --block --disable-usage-stats "$@"
    ;;
*)
    exec winnow "$mode" "$@"
    ;;
esac
