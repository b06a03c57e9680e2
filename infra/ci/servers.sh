#!/usr/bin/env bash
# Sees to it that PostgreSQL, RabbitMQ and Redis serve on their usual ports: installs and starts what does not answer,
# on loopback, and touches nothing that does. Needs root and Debian's packages.
set -euo pipefail

POSTGRES_PORT=${POSTGRES_PORT:-5432} RABBITMQ_PORT=${RABBITMQ_PORT:-5672} REDIS_PORT=${REDIS_PORT:-6379}
STATE=${STATE:-/var/tmp/gridbay-ci}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

await() { # await PORT NAME: until it answers, a minute at most
    for _ in $(seq 240); do
        if answers "$1"; then return; fi
        sleep 0.25
    done
    echo "servers: $2 does not answer on port $1" >&2
    return 1
}

install_packages() {
    # Installed servers must not start by themselves.
    local policy=/usr/sbin/policy-rc.d made=0
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=1; }
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    [ "$made" = 0 ] || rm -f "$policy"
}

start_postgres() {
    [ -x "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | head -1)" ] || install_packages postgresql
    local programs data=$STATE/postgres
    programs=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
    install -d -o postgres -m 700 "$data"
    [ -e "$data/PG_VERSION" ] || su postgres -c "$programs/initdb -A trust -U postgres -D $data >/dev/null"
    su postgres -c "$programs/pg_ctl -s -D $data -l $data/log -o '-p $POSTGRES_PORT -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories=$data -c max_connections=200' start"
}

start_rabbitmq() {
    command -v rabbitmq-server >/dev/null || install_packages rabbitmq-server
    ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$RABBITMQ_PORT \
        rabbitmq-server -detached 2>/dev/null
}

start_redis() {
    command -v redis-server >/dev/null || install_packages redis-server
    install -d "$STATE/redis"
    redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --daemonize yes --save '' --dir "$STATE/redis" >/dev/null
}

mkdir -p "$STATE" && chmod 755 "$STATE"
answers "$POSTGRES_PORT" || start_postgres
answers "$RABBITMQ_PORT" || start_rabbitmq
answers "$REDIS_PORT" || start_redis
await "$POSTGRES_PORT" PostgreSQL
await "$RABBITMQ_PORT" RabbitMQ
await "$REDIS_PORT" Redis
echo "servers: PostgreSQL, RabbitMQ and Redis answer"
