#!/bin/sh
# Prints the configuration of Redis: redis.conf, the operator's password, and one user for each line of redis.acl.
# Usage: redis-config.sh FOLDER, with REDIS_PASSWORD, REDIS_GATEWAY_PASSWORD, REDIS_ENGINE_PASSWORD and
# REDIS_DETOKENIZER_PASSWORD in the environment: a command line is no secret. Passwords must not hold blanks or quotes.
set -eu
cat "$1/redis.conf"
printf 'requirepass %s\n' "$REDIS_PASSWORD"
while read -r service rules; do
    case $service in
        gateway) password=$REDIS_GATEWAY_PASSWORD ;;
        engine) password=$REDIS_ENGINE_PASSWORD ;;
        detokenizer) password=$REDIS_DETOKENIZER_PASSWORD ;;
    esac
    printf 'user %s %s >%s\n' "$service" "$rules" "$password"
done < "$1/redis.acl"
