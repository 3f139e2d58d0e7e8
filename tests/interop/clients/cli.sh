#!/usr/bin/env bash
# The interop scenarios with the `nats` command. Environment: NATS_URL, RESTART (a shell command),
# NATS_CLI (the program). A scenario that a command line cannot show is skipped.
set -uo pipefail

limit=65536
work=$(mktemp -d)
trap 'rm -rf "$work"; kill $(jobs -p) 2>/dev/null' EXIT
export XDG_CONFIG_HOME=$work # no contexts of whoever runs this

nats() { timeout 20 "$NATS_CLI" --server "$NATS_URL" --no-context "$@" 2>&1; }
has() { grep -qF -- "$1" "$2"; }

# until_true COMMAND...: again and again for ten seconds. A subscriber in the background says
# nothing that would prove its SUB has arrived, so publish until it has seen something.
until_true() {
  for _ in {1..100}; do
    "$@" && return
    sleep 0.1
  done
  return 1
}

pub_sub() {
  nats sub cli.plain --count 1 --raw >"$work/sub" &
  until_true eval 'nats pub cli.plain hello >/dev/null; has hello "$work/sub"' && wait $!
}

wildcard() {
  nats sub 'cli.wild.*.end' --count 1 >"$work/star" &
  local star=$!
  until_true eval 'nats pub cli.wild.a.b.end no >/dev/null
    nats pub cli.wild.a.end yes >/dev/null; has yes "$work/star"' || return 1
  wait $star && has cli.wild.a.end "$work/star" && ! has no "$work/star"
}

queue_group() {
  nats sub cli.queue --queue workers --raw >"$work/one" &
  local one=$!
  nats sub cli.queue --queue workers --raw >"$work/two" &
  local two=$!
  until_true eval 'nats pub cli.queue warm >/dev/null
    has warm "$work/one" && has warm "$work/two"' || return 1
  nats pub cli.queue 'job {{Count}}' --count 100 >/dev/null || return 1
  until_true eval '(($(cat "$work/one" "$work/two" | grep -c job) == 100))' || return 1
  kill $one $two
  (($(grep -c job "$work/one") > 20 && $(grep -c job "$work/two") > 20))
}

request_reply() {
  nats reply cli.service 'pong' --count 1 >"$work/reply" &
  until_true eval 'nats request cli.service ping --raw --timeout 5s >"$work/answer" &&
    has pong "$work/answer"'
}

no_responders() {
  nats request cli.nobody ping --timeout 10s >"$work/answer"
  has 'No responders' "$work/answer"
}

headers() {
  nats sub cli.headers --count 1 >"$work/sub" &
  until_true eval 'nats pub cli.headers body -H "Trace:a b" >/dev/null; has body "$work/sub"' &&
    wait $! && has 'Trace: a b' "$work/sub"
}

max_payload() {
  head -c $((limit + 1)) /dev/zero | tr '\0' x |
    nats pub cli.large --force-stdin >"$work/large" && return 1
  has 'maximum payload exceeded' "$work/large"
}

reconnect() {
  nats sub cli.again --count 2 --raw >"$work/sub" &
  until_true eval 'nats pub cli.again before >/dev/null; has before "$work/sub"' || return 1
  sh -c "$RESTART" || return 1
  until_true eval 'nats pub cli.again after >/dev/null; has after "$work/sub"' && wait $!
}

for scenario in pub_sub wildcard queue_group request_reply no_responders headers max_payload \
  reconnect; do
  if ! $scenario; then
    echo "FAILED cli $scenario:"
    tail -n 20 "$work"/* 2>/dev/null
    exit 1
  fi
  echo "ok cli $scenario"
done
echo "skipped cli drain: the command line has no drain of its own"
