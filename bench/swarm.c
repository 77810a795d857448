/* Many clients of a server on this machine that streams completions, at little cost to themselves.

   swarm PORT CLIENTS TOKENS WARM_UP_S SECONDS WORDS TICK_US MODEL

   Each client has one connection and asks again as soon as it has its answer. The answers' words tell the time: five
   digits that count TICK_US microseconds of CLOCK_MONOTONIC, modulo WORDS (the engine's --sim-words clock). After the
   warm-up a line says `counting`, and at the end comes what was counted, one line of JSON. A client whose request
   fails does not ask again. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_LINE = 1 << 14, PROMPT_WORDS = 32, WORD = 6 /* a space and five digits */, MOST_TICKS = 100000 };

enum part { STATUS, HEADERS, SIZE, DATA, DATA_END, TRAILER };

struct client {
    int fd;
    enum part part;   /* of the answer, where the next byte belongs */
    bool done, heard; /* [DONE] has come; anything has come */
    size_t left;      /* bytes of the chunk; in a trailer, bytes of its line */
    int64_t asked_ns;
    size_t held; /* bytes of a line that is not whole yet */
    char line[LONGEST_LINE];
};

static struct {
    uintmax_t events, frames, tokens, bytes, answers; /* frames: events with text */
    uintmax_t ages[MOST_TICKS], firsts[MOST_TICKS];   /* how many took so many ticks */
} counted;

static const char *model;
static int port, tokens, words, open_clients, failures, poll_fd;
static int64_t tick_ns, now_ns, begin_ns; /* begin: of the counting */
static char failure[1024]; /* the first */

static void fail(struct client *client, const char *format, ...) {
    if (!failures++) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(failure, sizeof failure, format, arguments);
        va_end(arguments);
        for (char *at = failure; *at; at++)
            if (*at == '"' || *at == '\\' || *at < ' ') *at = '\'';
    }
    close(client->fd);
    client->fd = -1;
    open_clients--;
}

static void quit(const char *what) {
    fprintf(stderr, "swarm: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t clock_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static void ask(struct client *client, int most_tokens) {
    char prompt[PROMPT_WORDS * WORD + 1], body[1024], request[2048];
    for (int i = 0; i < PROMPT_WORDS; i++) sprintf(prompt + i * WORD, " %05d", (int)(random() % words));
    int size = snprintf(body, sizeof body,
                        "{\"model\":\"%s\",\"prompt\":\"%s\",\"max_tokens\":%d,\"stream\":true,\"ignore_eos\":true}",
                        model, prompt, most_tokens);
    int length = snprintf(request, sizeof request,
                          "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                          "Content-Length: %d\r\n\r\n%s",
                          port, size, body);
    client->part = STATUS;
    client->done = client->heard = false;
    client->asked_ns = clock_ns();
    if (send(client->fd, request, (size_t)length, MSG_NOSIGNAL) != length) fail(client, "a request could not be sent");
}

static void join(struct client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof address)) quit("connecting");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, client->fd, &event)) quit("epoll_ctl");
    open_clients++;
}

static void count(uintmax_t *histogram, int64_t ticks) { histogram[ticks < MOST_TICKS ? ticks : MOST_TICKS - 1]++; }

/* The ticks since the word's, from which the number has wrapped around at most once; what is far ahead is early. */
static int64_t age(int word) {
    int64_t ticks = (now_ns / tick_ns - word) % words;
    return ticks < words - words / 4 ? ticks : 0;
}

static void take_event(struct client *client, const char *line, size_t length) {
    const char *end = line + length, *text;
    if (length < 7 || memcmp(line, "data: ", 6)) return;
    counted.events++;
    if ((client->done = line[6] == '[')) return;
    if (!client->heard && client->asked_ns >= begin_ns) count(counted.firsts, (now_ns - client->asked_ns) / tick_ns);
    client->heard = true;
    if (!(text = memmem(line, length, "\"text\":\"", 8))) return fail(client, "%.*s", (int)length, line);
    if (*(text += 8) != '"') counted.frames++;
    for (; text + WORD < end && *text == ' '; text += WORD) {
        int word = 0;
        for (int i = 1; i < WORD; i++) word = 10 * word + text[i] - '0';
        counted.tokens++;
        count(counted.ages, age(word));
    }
    if (*text != '"') fail(client, "no words of the clock: %.*s", (int)length, line);
}

/* The next whole line before `end`, or NULL when its rest is still to come. */
static const char *next_line(struct client *client, const char **at, const char *end, size_t *length) {
    const char *begin = *at, *stop = memchr(begin, '\n', (size_t)(end - begin));
    size_t size = (size_t)((stop ? stop : end) - begin);
    *at = stop ? stop + 1 : end;
    *length = size;
    if (stop && !client->held) return begin;
    if (client->held + size > LONGEST_LINE) return fail(client, "a line of more than %d bytes", LONGEST_LINE), NULL;
    memcpy(client->line + client->held, begin, size);
    client->held += size;
    if (!stop) return NULL;
    *length = client->held;
    client->held = 0;
    return client->line;
}

static void take_size(struct client *client, char byte) {
    if (byte == '\n')
        client->part = client->left ? DATA : TRAILER;
    else if (byte != '\r')
        client->left = 16 * client->left + (size_t)(byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10);
}

static void take_trailer(struct client *client, char byte) {
    if (byte != '\n')
        client->left += byte != '\r';
    else if (client->left)
        client->left = 0;
    else if (!client->done)
        fail(client, "an answer ended before [DONE]");
    else {
        counted.answers++;
        ask(client, tokens);
    }
}

static void take(struct client *client, const char *at, const char *end) {
    while (at < end && client->fd >= 0) {
        const char *begin = at, *line;
        size_t length;
        switch (client->part) {
        case STATUS:
        case HEADERS:
            if (!(line = next_line(client, &at, end, &length))) break;
            if (client->part == STATUS && (length < 12 || memcmp(line + 8, " 200", 4)))
                fail(client, "%.*s %.*s", (int)length, line, (int)(end - at), at);
            client->part = length > 1 ? HEADERS : SIZE; /* the end of a line is \r\n */
            client->left = 0;
            break;
        case SIZE:
            take_size(client, *at++);
            break;
        case DATA:
            line = next_line(client, &at, (size_t)(end - at) < client->left ? end : at + client->left, &length);
            if (line) take_event(client, line, length);
            if (!(client->left -= (size_t)(at - begin))) client->part = DATA_END;
            break;
        case DATA_END:
            if (*at++ == '\n') client->part = SIZE;
            break;
        case TRAILER:
            take_trailer(client, *at++);
            break;
        }
    }
}

static void receive(struct client *client) {
    static char buffer[1 << 16];
    ssize_t size = recv(client->fd, buffer, sizeof buffer, 0);
    now_ns = clock_ns();
    if (size <= 0) return fail(client, "the server closed a connection");
    counted.bytes += (uintmax_t)size;
    take(client, buffer, buffer + size);
}

static void run_until(int64_t end_ns) {
    struct epoll_event events[512];
    while (open_clients && (now_ns = clock_ns()) < end_ns) {
        int ready = epoll_wait(poll_fd, events, 512, (int)((end_ns - now_ns) / 1000000) + 1);
        for (int i = 0; i < ready; i++) receive(events[i].data.ptr);
    }
}

static void tell(const char *name, const uintmax_t *histogram) {
    const double shares[] = {0.5, 0.9, 0.99, 1.0};
    const char *names[] = {"p50", "p90", "p99", "max"};
    uintmax_t total = 0, below = 0;
    for (int i = 0; i < MOST_TICKS; i++) total += histogram[i];
    printf(", \"%s\": {\"count\": %ju", name, total);
    for (int at = 0, next = 0; at < MOST_TICKS && total; at++)
        for (below += histogram[at]; next < 4 && (double)below >= shares[next] * (double)total; next++)
            printf(", \"%s\": %.2f", names[next], (double)(at * tick_ns) / 1e6);
    printf("}");
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
    char **value = argv + 1;
    if (argc == 9) port = atoi(value[0]), tokens = atoi(value[2]), words = atoi(value[5]), model = value[7];
    int number = argc == 9 ? atoi(value[1]) : 0;
    if (number < 1 || tokens < 1 || words < 2 || words > MOST_TICKS || (tick_ns = 1000 * atoll(value[6])) < 1 ||
        strlen(model) > 256) {
        fprintf(stderr, "usage: swarm PORT CLIENTS TOKENS WARM_UP_S SECONDS WORDS TICK_US MODEL\n");
        return 2;
    }
    double warm_up_s = atof(value[3]), seconds = atof(value[4]);
    struct client *clients = calloc((size_t)number, sizeof *clients);
    if (!clients || (poll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) quit("starting");
    for (int i = 0; i < number; i++) join(clients + i);
    /* The first answers are of all lengths, so that they do not end, and all begin anew, at once. */
    for (int i = 0; i < number; i++) ask(clients + i, 1 + (int)((int64_t)(tokens - 1) * i / number));
    run_until(clock_ns() + (int64_t)(warm_up_s * 1e9));
    memset(&counted, 0, sizeof counted);
    puts("counting");
    fflush(stdout);
    begin_ns = clock_ns();
    double cpu_s = cpu_seconds();
    run_until(begin_ns + (int64_t)(seconds * 1e9));
    printf("{\"seconds\": %.4f, \"cpu_seconds\": %.4f, \"open\": %d",
           (double)(clock_ns() - begin_ns) / 1e9, cpu_seconds() - cpu_s, open_clients);
    printf(", \"events\": %ju, \"frames\": %ju, \"tokens\": %ju, \"bytes\": %ju, \"answers\": %ju", counted.events,
           counted.frames, counted.tokens, counted.bytes, counted.answers);
    tell("ttft_ms", counted.firsts);
    tell("age_ms", counted.ages);
    printf(", \"failures\": %d, \"failure\": \"%s\"}\n", failures, failure);
    return 0;
}
