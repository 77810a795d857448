#!/bin/sh
# An answer as a stream of events, cut in the middle and taken up again; curl alone.
#
#   sh examples/curl.sh [http://127.0.0.1:8000]
#
# MODEL, QUESTION and SLUICE_API_KEY are variables.
set -eu
url=${1:-http://127.0.0.1:8000}
model=${MODEL:-sluice-demo}
question=${QUESTION:-Tell me a story about a fox.}
key="Authorization: Bearer ${SLUICE_API_KEY:-none}"
here=$(mktemp -d)
trap 'rm -r "$here"' EXIT

# Who accepts event streams gets an id with each event. `detach=60`: the answer goes on for a minute without a reader.
# `head` ends after some lines, and with it curl: this is the cut.
curl -sN -D "$here/headers" "$url/v1/chat/completions" \
	-H "$key" -H 'Content-Type: application/json' -H 'Accept: text/event-stream' -H 'X-On-Disconnect: detach=60' \
	-d "{\"model\": \"$model\", \"stream\": true, \"temperature\": 0,
	     \"messages\": [{\"role\": \"user\", \"content\": \"$question\"}]}" | head -n 31 | tee "$here/events"

# The stream's name, and the last event that came whole: an empty line ends it.
id=$(tr -d '\r' <"$here/headers" | awk 'tolower($1) == "x-request-id:" { print $2 }')
last=$(awk '/^id: / { id = $2 } /^$/ { whole = id } END { print whole }' "$here/events")
test -n "$id" || { echo "$url answered no stream" >&2; exit 1; }

printf ': cut; %s goes on behind event %s\n' "$id" "$last"
curl -sfN "$url/v1/streams/$id" -H "$key" -H "Last-Event-ID: $last"
