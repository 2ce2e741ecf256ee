// streamload: a simulated provider and the clients of a gateway, in one process, on one clock.
//
// It knows the chat wire just well enough to stand on both sides of whatever is measured, and nothing of what that is.
// Asked at a path that ends in /messages or /converse-stream, its provider answers as Anthropic or Bedrock do; clients
// ask at /messages and /responses as those of Anthropic's and of OpenAI's newer API do.
//
//   streamload mock                     only the provider, until it is killed
//   streamload closed --clients N       N streams at any time: each client asks again as soon as its answer has ended
//   streamload open --rate R            R new streams a second, at random moments, however many are still running
//   streamload hold --clients N         opens N streams (R a second) that never end: every second one without a single
//                                       byte from the provider, the others silent after their frames; then waits for a
//                                       line (or the end) on standard input
//
// Because one process holds both ends, no clock has to be matched: every content frame carries the moment at which it
// was written, every request an id under which the provider's side finds it again. What the provider does is in the
// prompt, which every wire carries: "bench: id=7 frames=64 interval_us=20000 delay_us=0 silent=0."
//
// Standard output: one JSON object a line. {"mark": "begin"} and {"mark": "end"} bound the measured window, so that the
// caller can read the CPU time of the measured processes at these moments; the last line is the result.
// One thread, epoll, nothing allocated per frame. Times inside are nanoseconds, outside microseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t Nanos;
#define SECOND 1000000000ull

static struct {
    const char *mode, *path, *model, *headers[16];
    int n_headers, port, clients, frames, prompt_bytes, cancel_every, usage;
    double rate, seconds, warmup, interval_ms, delay_ms;
    struct sockaddr_in target;
} opt = {.path = "/v1/chat/completions", .model = "mock/bench", .port = 9901, .clients = 32, .frames = 64,
         .prompt_bytes = 64, .rate = 100, .seconds = 8, .warmup = 2};

static void fail(const char *what) {
    fprintf(stderr, "streamload: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *grown(void *block, size_t bytes) {
    block = realloc(block, bytes);
    if (!block) fail("memory");
    return block;
}

static Nanos now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (Nanos)t.tv_sec * SECOND + (Nanos)t.tv_nsec;
}

static double dice(void) {  // in (0, 1); seeded alike in every run
    static uint64_t s = 0x9E3779B97F4A7C15ull;
    s ^= s << 13, s ^= s >> 7, s ^= s << 17;
    return ((double)(s >> 11) + 0.5) / 9007199254740992.0;
}

// ---------------------------------------------------------------- timers: a binary heap

typedef struct Timer {
    Nanos due;
    int at;  // place in the heap, -1: not running
    void (*fire)(void *);
    void *arg;
} Timer;

static struct { Timer **t; int n, cap; } heap;

static void heap_put(int i, Timer *t) { heap.t[i] = t, t->at = i; }

static void heap_settle(int i, Timer *t) {
    for (int up; i > 0 && heap.t[up = (i - 1) / 2]->due > t->due; i = up) heap_put(i, heap.t[up]);
    for (int down; (down = 2 * i + 1) < heap.n; i = down) {
        if (down + 1 < heap.n && heap.t[down + 1]->due < heap.t[down]->due) down++;
        if (heap.t[down]->due >= t->due) break;
        heap_put(i, heap.t[down]);
    }
    heap_put(i, t);
}

static void timer_stop(Timer *t) {
    if (t->at < 0) return;
    int hole = t->at;
    Timer *last = heap.t[--heap.n];
    t->at = -1;
    if (last != t) heap_settle(hole, last);
}

static void timer_start(Timer *t, Nanos due) {
    timer_stop(t);
    if (heap.n == heap.cap) heap.t = grown(heap.t, (size_t)(heap.cap = heap.cap ? heap.cap * 2 : 1024) * sizeof *heap.t);
    t->due = due;
    heap_settle(heap.n++, t);
}

// ---------------------------------------------------------------- what is recorded

typedef struct { uint32_t *v; size_t n, cap; } Samples;  // tenths of a microsecond

static void sample(Samples *s, int64_t ns) {
    if (s->n == s->cap) s->v = grown(s->v, (s->cap = s->cap ? s->cap * 2 : 65536) * sizeof *s->v);
    ns = ns < 0 ? 0 : ns / 100;
    s->v[s->n++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_samples(const char *name, Samples *s) {
    if (s->n) qsort(s->v, s->n, sizeof *s->v, by_size);
#define AT(p) (s->n ? s->v[(size_t)((p) * (double)(s->n - 1))] / 10.0 : 0.0)
    printf(", \"%s\": {\"n\": %zu, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}", name, s->n,
           AT(.5), AT(.9), AT(.99), AT(.999), AT(1.0));
}

typedef struct {
    Nanos asked, first, left, accepted, closed;  // 0: has not happened; accepted and closed as the provider saw them
    Nanos sent_before;                           // when the frame before was written
    Nanos got_before;                            // and when it arrived
    uint32_t frames;
} Stream;

static struct { Stream *s; size_t n, cap; } streams;
static struct {
    Samples ttft, lag, gap, cancel;
    uint64_t frames, bytes, completed, broken, refused, lost;
} seen;
static bool measuring;
static Nanos window_begin, window_end;
static struct rusage cpu_begin, cpu_end;

// ---------------------------------------------------------------- connections

typedef enum { LISTENER, INPUT, PROVIDER, CLIENT } Side;
typedef struct Conn {
    Side side;
    int fd;
    bool busy, wants_write, chunked;
    size_t id;  // of the stream that it carries
    Timer timer;
    char *in, *out;
    size_t n_in, cap_in, n_out, cap_out;
    // provider: what the request asks for
    uint32_t frames, written;
    Nanos interval;
    bool silent, usage, headed;
    int wire;
    // client: the answer's grammar
    enum { HEAD, SIZE, DATA, DATA_END, TRAILER } state;
    size_t chunk, n_line;
    int digits, done;
    uint64_t stamp;
    int status;
    struct Conn *next_idle;
} Conn;

static int poller;
static Conn *idle;
static char arena[1 << 18];

static Conn *conn_new(Side side, int fd, uint32_t events) {
    Conn *c = calloc(1, sizeof *c);
    if (!c) fail("memory");
    c->side = side, c->fd = fd, c->timer = (Timer){.at = -1, .arg = c};
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &ev)) fail("epoll_ctl");
    return c;
}

static void conn_free(Conn *c) {
    timer_stop(&c->timer);
    close(c->fd);
    free(c->in), free(c->out), free(c);
}

static void watch(Conn *c, bool write) {
    if (c->wants_write == write) return;
    c->wants_write = write;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | (write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &ev);
}

static void keep(char **block, size_t *n, size_t *cap, const char *bytes, size_t more) {
    if (*n + more + 1 > *cap) *block = grown(*block, *cap = (*n + more + 1) * 2);
    memcpy(*block + *n, bytes, more);
    *n += more;
    (*block)[*n] = 0;
}

static void conn_write(Conn *c, const char *bytes, size_t n) {  // an error shows at the next read
    ssize_t wrote = c->n_out ? 0 : send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (wrote < 0) wrote = 0;
    if ((size_t)wrote == n) return;
    keep(&c->out, &c->n_out, &c->cap_out, bytes + wrote, n - (size_t)wrote);
    watch(c, true);
}

static void conn_flush(Conn *c) {
    ssize_t wrote = send(c->fd, c->out, c->n_out, MSG_NOSIGNAL);
    if (wrote <= 0) return;
    memmove(c->out, c->out + wrote, c->n_out -= (size_t)wrote);
    if (!c->n_out) watch(c, false);
}

static int tcp_socket(void) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

// ---------------------------------------------------------------- the provider's side

#define CHUNK_HEAD                                                                                                        \
    "data: {\"id\":\"chatcmpl-AbCdEf0123456789AbCdEf01\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"       \
    "\"model\":\"bench\",\"system_fingerprint\":\"fp_44709d6fcb\","
#define DELTA(delta, reason) \
    CHUNK_HEAD "\"choices\":[{\"index\":0,\"delta\":{" delta "},\"logprobs\":null,\"finish_reason\":" reason "}]}\n\n"
static const char ROLE[] = DELTA("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null", "null");
static const char CONTENT[] = DELTA("\"content\":\"@0000000000000000000\"", "null");  // the digits: when it was written
static const char FINISH[] = DELTA("", "\"stop\"");

#define EVENT(name, more) "event: " name "\ndata: {\"type\":\"" name "\"" more "}\n\n"
static const char CLAUDE_BEGIN[] =
    EVENT("message_start", ",\"message\":{\"id\":\"msg_01AbCdEf0123456789\",\"type\":\"message\",\"role\":\"assistant\","
          "\"model\":\"bench\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":21,"
          "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1}}")
    EVENT("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
static const char CLAUDE_CONTENT[] =
    EVENT("content_block_delta", ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"@0000000000000000000\"}");
static const char CLAUDE_END[] =
    EVENT("content_block_stop", ",\"index\":0")
    EVENT("message_delta", ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":64}")
    EVENT("message_stop", "");

static uint32_t crc32_of(const unsigned char *p, size_t n) {
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            table[i] = c;
        }
    uint32_t crc = ~0u;
    while (n--) crc = table[(crc ^ *p++) & 255] ^ (crc >> 8);
    return ~crc;
}

static void put_number(char *to, uint32_t v) { v = htonl(v), memcpy(to, &v, 4); }

static size_t put_message(char *to, const char *type, const char *payload) {  // of AWS's event stream, with both sums
    char *at = to + 12;
    const char *headers[][2] = {{":event-type", type}, {":content-type", "application/json"}, {":message-type", "event"}};
    for (int i = 0; i < 3; i++) {
        size_t name = strlen(headers[i][0]), value = strlen(headers[i][1]);
        *at++ = (char)name, memcpy(at, headers[i][0], name), at += name;
        *at++ = 7, *at++ = 0, *at++ = (char)value, memcpy(at, headers[i][1], value), at += value;
    }
    size_t head = (size_t)(at - to - 12), n = strlen(payload), whole = 12 + head + n + 4;
    memcpy(at, payload, n);
    put_number(to, (uint32_t)whole), put_number(to + 4, (uint32_t)head);
    put_number(to + 8, crc32_of((unsigned char *)to, 8));
    put_number(to + whole - 4, crc32_of((unsigned char *)to, whole - 4));
    return whole;
}

typedef enum { CHAT, CLAUDE, BEDROCK, RESPONSES } Wire;
static const char *const MEDIA[] = {"text/event-stream; charset=utf-8", "text/event-stream; charset=utf-8",
                                    "application/vnd.amazon.eventstream"};
static const char *const END_MARKS[] = {"[DONE]", "message_stop", "messageStop", "response.completed"};

static Wire wire_of(const char *path, size_t n) {
    static const char *const tails[] = {"/completions", "/messages", "/converse-stream", "/responses"};
    for (int w = CLAUDE; w <= RESPONSES; w++) {
        size_t tail = strlen(tails[w]);
        if (n >= tail && !memcmp(path + n - tail, tails[w], tail)) return (Wire)w;
    }
    return CHAT;
}

static size_t put_chunk(char *to, const char *data, size_t n) {
    size_t head = (size_t)sprintf(to, "%zx\r\n", n);
    memcpy(to + head, data, n);
    memcpy(to + head + n, "\r\n", 2);
    return head + n + 2;
}

static size_t put_begin(Wire wire, char *to) {
    if (wire == BEDROCK) return put_message(to, "messageStart", "{\"p\":\"abcdefgh\",\"role\":\"assistant\"}");
    return (size_t)sprintf(to, "%s", wire == CLAUDE ? CLAUDE_BEGIN : ROLE);
}

static size_t put_end(Conn *c, char *to) {
    size_t n = 0;
    if (c->wire == CLAUDE) return (size_t)sprintf(to, "%s", CLAUDE_END);
    if (c->wire == BEDROCK) {
        n += put_message(to, "contentBlockStop", "{\"contentBlockIndex\":0,\"p\":\"abc\"}");
        n += put_message(to + n, "messageStop", "{\"p\":\"abcdefghijk\",\"stopReason\":\"end_turn\"}");
        return n + put_message(to + n, "metadata", "{\"metrics\":{\"latencyMs\":9},\"p\":\"ab\",\"usage\":{\"inputTokens\":21,"
                               "\"outputTokens\":64,\"totalTokens\":85}}");
    }
    n = (size_t)sprintf(to, "%s", FINISH);
    if (c->usage)
        n += (size_t)sprintf(to + n, CHUNK_HEAD "\"choices\":[],\"usage\":{\"prompt_tokens\":21,\"completion_tokens\":%u,"
                             "\"total_tokens\":%u,\"prompt_tokens_details\":{\"cached_tokens\":0},"
                             "\"completion_tokens_details\":{\"reasoning_tokens\":0}}}\n\n", c->frames, c->frames + 21);
    return n + (size_t)sprintf(to + n, "data: [DONE]\n\n");
}

static void put_stamp(char *frame) {  // behind the first @
    char *digits = strchr(frame, '@') + 1;
    Nanos t = now();
    for (int i = 18; i >= 0; i--, t /= 10) digits[i] = (char)('0' + t % 10);
}

static void provider_content(Conn *c) {
    char frame[1024], out[1100];
    size_t n;
    if (c->wire == BEDROCK) {
        char payload[] = "{\"contentBlockIndex\":0,\"delta\":{\"text\":\"@0000000000000000000\"},\"p\":\"abcdefghijklmnop\"}";
        put_stamp(payload);
        n = put_message(frame, "contentBlockDelta", payload);
    } else {
        n = (size_t)sprintf(frame, "%s", c->wire == CLAUDE ? CLAUDE_CONTENT : CONTENT);
        put_stamp(frame);
    }
    conn_write(c, out, put_chunk(out, frame, n));
    c->written++;
}

static void provider_end(Conn *c) {
    char data[2048], out[2304];
    size_t n = put_chunk(out, data, put_end(c, data));
    memcpy(out + n, "0\r\n\r\n", 5);
    c->busy = false;
    conn_write(c, out, n + 5);
}

static void provider_parse(Conn *c);

static void provider_step(void *arg) {  // the head and the first frame together, then a write a frame
    Conn *c = arg;
    if (!c->headed) {
        char out[2304], begin[1024];
        size_t n = (size_t)sprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nCache-Control: no-cache\r\n"
                                   "Transfer-Encoding: chunked\r\n\r\n", MEDIA[c->wire]);
        conn_write(c, out, n + put_chunk(out + n, begin, put_begin(c->wire, begin)));
        c->headed = true;
    }
    do {
        if (c->written < c->frames) provider_content(c);
        else if (c->silent) return;
        else provider_end(c);
    } while (c->busy && !c->interval);
    if (c->busy) timer_start(&c->timer, c->timer.due + c->interval);
    else provider_parse(c);
}

static uint64_t field(const char *wish, const char *name, uint64_t otherwise) {
    char wanted[32];
    sprintf(wanted, " %s=", name);
    const char *at = wish ? strstr(wish, wanted) : NULL;
    return at ? strtoull(at + strlen(wanted), NULL, 10) : otherwise;
}

static void provider_parse(Conn *c) {
    char *end = c->n_in ? strstr(c->in, "\r\n\r\n") : NULL;
    if (!end || c->busy) return;
    char *length = strcasestr(c->in, "\ncontent-length:");
    size_t n = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
    size_t whole = (size_t)(end + 4 - c->in) + n;
    if (c->n_in < whole) return;
    char after = c->in[whole];
    c->in[whole] = 0;
    const char *bench = strstr(end, "bench:");
    c->frames = (uint32_t)field(bench, "frames", (uint64_t)opt.frames);
    c->interval = field(bench, "interval_us", (uint64_t)(opt.interval_ms * 1e3)) * 1000;
    c->silent = field(bench, "silent", 0);
    c->id = field(bench, "id", SIZE_MAX);
    c->usage = strstr(end, "include_usage");
    const char *path = strchr(c->in, ' ') + 1;
    c->wire = wire_of(path, strcspn(path, " ?"));
    Nanos delay = field(bench, "delay_us", (uint64_t)(opt.delay_ms * 1e3)) * 1000;
    c->in[whole] = after;
    memmove(c->in, c->in + whole, (c->n_in -= whole) + 1);
    c->busy = true, c->headed = false, c->written = 0;
    Nanos t = now();
    if (c->id < streams.n) streams.s[c->id].accepted = t;
    c->timer.fire = provider_step;
    timer_start(&c->timer, t + delay);
    if (!delay) timer_stop(&c->timer), provider_step(c);
}

static void provider_ready(Conn *c, uint32_t events) {
    if (events & EPOLLOUT) conn_flush(c);
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;
    ssize_t n = recv(c->fd, arena, sizeof arena, 0);
    if (n > 0) {
        keep(&c->in, &c->n_in, &c->cap_in, arena, (size_t)n);
        provider_parse(c);
    } else if (n == 0 || errno != EAGAIN) {
        if (c->busy && c->id < streams.n) streams.s[c->id].closed = now();
        conn_free(c);
    }
}

static void provider_accept(Conn *listener) {
    for (int fd, one = 1; (fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conn_new(PROVIDER, fd, EPOLLIN | EPOLLRDHUP);
    }
}

static void provider_listen(void) {
    int one = 1, fd = tcp_socket();
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {AF_INET, htons((uint16_t)opt.port), {htonl(INADDR_LOOPBACK)}, {0}};
    if (bind(fd, (void *)&a, sizeof a) || listen(fd, 4096)) fail("listen");
    conn_new(LISTENER, fd, EPOLLIN);
}

// ---------------------------------------------------------------- the clients' side

static Wire client_wire;  // in whose form clients ask
static const char *end_mark;  // without it an answer is not whole
static int end_length;
static uint64_t asked_in_window, running, opened;
static bool stopping, holding, steady;
static void client_ask(Conn *c);
static void client_next(Conn *c);

static Conn *client_connect(void) {
    int fd = tcp_socket();
    if (connect(fd, (void *)&opt.target, sizeof opt.target) && errno != EINPROGRESS) fail("connect");
    return conn_new(CLIENT, fd, EPOLLIN | EPOLLRDHUP);
}

static void client_leave(void *arg) {  // the cancel: close with the answer unread
    Conn *c = arg;
    streams.s[c->id].left = now();
    running--;
    conn_free(c);
    if (steady) client_ask(client_connect());
}

static void client_ask(Conn *c) {
    static char *prompt;
    if (!prompt) {
        prompt = calloc(1, (size_t)opt.prompt_bytes + 1);
        for (int i = 0; i < opt.prompt_bytes; i++) prompt[i] = i % 6 == 5 ? ' ' : 'w';
    }
    if (streams.n == streams.cap) {
        streams.cap = streams.cap ? streams.cap * 2 : 65536;
        streams.s = grown(streams.s, streams.cap * sizeof *streams.s);
    }
    size_t id = streams.n++;
    bool waiting = holding && id % 2 == 0;
    double delay_us = waiting ? 3600e6 : opt.delay_ms * 1e3;
    static char request[49152], body[40960];
    char wish[160];
    sprintf(wish, "bench: id=%zu frames=%d interval_us=%.0f delay_us=%.0f silent=%d.", id, opt.frames,
            opt.interval_ms * 1e3, delay_us, holding);
    int n = sprintf(body, "{\"model\":\"%s\",%s,\"stream\":true", opt.model, client_wire == CLAUDE ? "\"max_tokens\":99" : "\"temperature\":1");
    if (client_wire == RESPONSES) n += sprintf(body + n, ",\"input\":\"%s %s\"}", prompt, wish);
    else n += sprintf(body + n, "%s,\"messages\":[{\"role\":\"user\",\"content\":\"%s %s\"}]}",
                      opt.usage ? ",\"stream_options\":{\"include_usage\":true}" : "", prompt, wish);
    int m = sprintf(request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n", opt.path);
    for (int i = 0; i < opt.n_headers; i++) m += sprintf(request + m, "%s\r\n", opt.headers[i]);
    m += sprintf(request + m, "Content-Length: %d\r\n\r\n%s", n, body);
    c->id = id, c->busy = true, c->state = HEAD, c->n_in = 0, c->digits = -1, c->done = 0;
    streams.s[id] = (Stream){.asked = now()};
    asked_in_window += measuring, running++;
    conn_write(c, request, (size_t)m);
    if (opt.cancel_every && id % (size_t)opt.cancel_every == 0) {
        c->timer.fire = client_leave;
        double whole = (opt.delay_ms + opt.frames * opt.interval_ms) * 1e6;
        timer_start(&c->timer, streams.s[id].asked + (Nanos)(whole * 0.95 * dice()));
    }
}

static bool in_window(Nanos t) { return window_begin && t >= window_begin && (!window_end || t < window_end); }

static void client_frame(Stream *s, Nanos sent, Nanos t) {
    s->frames++;
    if (measuring) {
        seen.frames++;
        sample(&seen.lag, (int64_t)(t - sent));
        if (s->first) sample(&seen.gap, (int64_t)(t - s->got_before) - (int64_t)(sent - s->sent_before));
    }
    if (!s->first) {
        s->first = t;
        if (in_window(s->asked)) sample(&seen.ttft, (int64_t)(t - s->asked) - (int64_t)(opt.delay_ms * 1e6));
    }
    s->sent_before = sent, s->got_before = t;
}

static void client_scan(Conn *c, const char *p, size_t n, Nanos t) {  // frames may be cut anywhere
    for (const char *end = p + n; p < end; p++) {
        if (c->digits >= 0) {
            if (*p < '0' || *p > '9') { c->digits = -1; continue; }
            c->stamp = c->stamp * 10 + (uint64_t)(*p - '0');
            if (++c->digits < 19) continue;
            Stream *s = &streams.s[c->id];
            if (c->stamp > s->sent_before) client_frame(s, c->stamp, t);  // some APIs say all again at the end
            c->digits = -1;
        } else if (*p == '@') c->digits = 0, c->stamp = 0;
        else if (c->done < end_length) c->done = *p == end_mark[c->done] ? c->done + 1 : *p == end_mark[0];
    }
}

static void client_ended(Conn *c) {
    Stream *s = &streams.s[c->id];
    bool whole = c->status == 200 && c->done == end_length && s->frames == (uint32_t)opt.frames;
    if (whole) seen.completed += measuring;
    else if (c->status != 200) seen.refused++;
    else seen.broken++;
    timer_stop(&c->timer);
    c->busy = false, running--;
    client_next(c);
}

static void client_next(Conn *c) {
    if (steady && !stopping) client_ask(c);
    else c->next_idle = idle, idle = c;
}

static size_t client_head(Conn *c, const char *p, size_t n) {
    size_t before = c->n_in;
    keep(&c->in, &c->n_in, &c->cap_in, p, n);
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return n;
    c->status = atoi(c->in + 9);
    c->state = SIZE, c->chunk = 0, c->n_line = 0;
    if (c->status != 200 && !seen.refused) fprintf(stderr, "streamload: refused: %s\n", c->in);
    c->chunked = strcasestr(c->in, "transfer-encoding: chunked");
    if (!c->chunked) {  // an error: its body is of no interest
        char *length = strcasestr(c->in, "content-length:");
        c->chunk = length ? strtoul(length + 15, NULL, 10) : 0;
        c->state = c->chunk ? DATA : TRAILER;
        if (c->status == 200) { fprintf(stderr, "streamload: not chunked: %s\n", c->in); exit(1); }
    }
    return (size_t)(end + 4 - c->in) - before;
}

static void client_feed(Conn *c, const char *p, size_t n, Nanos t) {
    while (n && c->busy) {
        size_t used = 1;
        switch (c->state) {
        case HEAD: used = client_head(c, p, n); break;
        case SIZE:
            if (*p == '\n') {
                if (c->n_line) c->state = c->chunk ? DATA : TRAILER, c->n_line = 0;
            } else if (*p != '\r') {
                c->chunk = c->chunk * 16 + (size_t)(*p <= '9' ? *p - '0' : (*p | 32) - 'a' + 10);
                c->n_line++;
            }
            break;
        case DATA:
            used = n < c->chunk ? n : c->chunk;
            if (c->status == 200) client_scan(c, p, used, t);
            c->chunk -= used;
            if (!c->chunk) {
                if (c->chunked) c->state = DATA_END;
                else client_ended(c);
            }
            break;
        case DATA_END: if (*p == '\n') c->state = SIZE, c->n_line = 0; break;
        case TRAILER:
            if (*p == '\n') {
                if (!c->n_line) client_ended(c);
                c->n_line = 0;
            } else if (*p != '\r') c->n_line++;
            break;
        }
        p += used, n -= used;
    }
}

static void client_ready(Conn *c, uint32_t events) {
    if (events & EPOLLOUT && c->n_out) conn_flush(c);
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;
    ssize_t n = recv(c->fd, arena, sizeof arena, 0);
    if (n > 0) {
        if (measuring) seen.bytes += (uint64_t)n;
        client_feed(c, arena, (size_t)n, now());
        return;
    }
    if (n < 0 && errno == EAGAIN) return;
    if (!c->busy) {  // the other side gave up an idle connection
        for (Conn **at = &idle; *at; at = &(*at)->next_idle)
            if (*at == c) { *at = c->next_idle; break; }
        conn_free(c);
        return;
    }
    if (!seen.lost++) fprintf(stderr, "streamload: a connection was closed before its answer had ended\n");
    running--;
    conn_free(c);
    if (steady && !stopping) client_ask(client_connect());
}

// ---------------------------------------------------------------- the run

static Timer arrival = {.at = -1}, phase = {.at = -1};

static void mark(const char *name) {
    printf("{\"mark\": \"%s\", \"running\": %lu}\n", name, (unsigned long)running);
    fflush(stdout);
}

static void arrive(void *unused) {
    (void)unused;
    if (stopping || ((steady || holding) && opened == (uint64_t)opt.clients)) return;
    Conn *c = idle;
    if (c) idle = c->next_idle;
    else c = client_connect();
    opened++;
    client_ask(c);
    timer_start(&arrival, arrival.due + (Nanos)(-log(dice()) / opt.rate * 1e9));
}

static void window(void *unused) {
    (void)unused;
    Nanos t = now();
    if (!window_begin) {
        measuring = true, window_begin = t;
        getrusage(RUSAGE_SELF, &cpu_begin);
        mark("begin");
        timer_start(&phase, t + (Nanos)(opt.seconds * 1e9));
    } else if (measuring) {  // go on under the same load for a moment: answers and closes still under way are counted
        measuring = false, window_end = t;
        getrusage(RUSAGE_SELF, &cpu_end);
        mark("end");
        timer_start(&phase, t + SECOND / 2);
    } else stopping = true;
}

static void settle_hold(void *unused) {
    (void)unused;
    size_t ready = 0;
    for (size_t i = 0; i < streams.n; i++)
        ready += i % 2 ? streams.s[i].frames == (uint32_t)opt.frames : streams.s[i].accepted != 0;
    if (ready == (size_t)opt.clients && !measuring) {
        measuring = true;
        mark("held");
        conn_new(INPUT, STDIN_FILENO, EPOLLIN);
        return;
    }
    timer_start(&phase, now() + SECOND / 10);
}

static double micros(struct rusage *r) {
    return (double)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) * 1e6 + (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec);
}

static void report(void) {
    uint64_t unanswered = 0, unseen = 0, unreached = 0, cancelled = 0;
    for (size_t i = 0; i < streams.n; i++) {
        Stream *s = &streams.s[i];
        if (s->asked < window_end && !s->first && !s->left) unanswered++;
        if (!in_window(s->left)) continue;
        cancelled++;
        if (!s->accepted) unreached++;
        else if (!s->closed) unseen++;
        else sample(&seen.cancel, (int64_t)(s->closed - s->left));
    }
    printf("{\"seconds\": %.3f, \"asked\": %lu, \"completed\": %lu, \"frames\": %lu, \"bytes\": %lu, \"refused\": %lu,"
           " \"broken\": %lu, \"lost\": %lu, \"unanswered\": %lu, \"cancelled\": %lu, \"cancel_unseen\": %lu,"
           " \"cancel_unreached\": %lu, \"tool_cpu_us\": %.0f",
           (double)(window_end - window_begin) / 1e9, asked_in_window, seen.completed, seen.frames, seen.bytes, seen.refused,
           seen.broken, seen.lost, unanswered, cancelled, unseen, unreached, micros(&cpu_end) - micros(&cpu_begin));
    print_samples("ttft_us", &seen.ttft);
    print_samples("lag_us", &seen.lag);
    print_samples("gap_us", &seen.gap);
    print_samples("cancel_us", &seen.cancel);
    printf("}\n");
}

static void run(void) {
    static struct epoll_event events[1024];
    while (!stopping) {
        struct timespec wait, *limit = NULL;  // to the nanosecond: frames of different streams must not be bunched
        if (heap.n) {
            Nanos t = now(), due = heap.t[0]->due > t ? heap.t[0]->due - t : 0;
            wait = (struct timespec){(time_t)(due / SECOND), (long)(due % SECOND)}, limit = &wait;
        }
        int n = epoll_pwait2(poller, events, 1024, limit, NULL);
        if (n < 0 && errno != EINTR) fail("epoll_pwait2");
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            switch (c->side) {
            case LISTENER: provider_accept(c); break;
            case PROVIDER: provider_ready(c, events[i].events); break;
            case CLIENT: client_ready(c, events[i].events); break;
            case INPUT: stopping = true; break;
            }
        }
        for (Nanos t = now(); heap.n && heap.t[0]->due <= t;) {
            Timer *timer = heap.t[0];
            timer_stop(timer);
            timer->fire(timer->arg);
        }
    }
}

// ---------------------------------------------------------------- the command line

static void usage(const char *why) {
    fprintf(stderr, "streamload: %s\nusage: streamload mock|closed|open|hold [--port N] [--target HOST:PORT] [--path P]"
            " [--model M] [--header 'Name: value']... [--clients N] [--rate PER_SECOND] [--frames N] [--interval-ms X]"
            " [--delay-ms X] [--prompt-bytes N] [--cancel-every K] [--usage 0|1] [--warmup S] [--seconds S]\n", why);
    exit(2);
}

static void parse_target(const char *value) {
    char host[64];
    int port;
    if (sscanf(value, "%63[^:]:%d", host, &port) != 2) usage("--target wants HOST:PORT");
    opt.target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (!inet_aton(host, &opt.target.sin_addr)) usage("--target wants an IPv4 address");
}

static void parse(int argc, char **argv) {
    if (argc < 2) usage("no mode");
    opt.mode = argv[1];
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) opt.port = atoi(value);
        else if (!strcmp(name, "--target")) parse_target(value);
        else if (!strcmp(name, "--path")) opt.path = value;
        else if (!strcmp(name, "--model")) opt.model = value;
        else if (!strcmp(name, "--header") && opt.n_headers < 16) opt.headers[opt.n_headers++] = value;
        else if (!strcmp(name, "--clients")) opt.clients = atoi(value);
        else if (!strcmp(name, "--rate")) opt.rate = atof(value);
        else if (!strcmp(name, "--frames")) opt.frames = atoi(value);
        else if (!strcmp(name, "--interval-ms")) opt.interval_ms = atof(value);
        else if (!strcmp(name, "--delay-ms")) opt.delay_ms = atof(value);
        else if (!strcmp(name, "--prompt-bytes")) opt.prompt_bytes = atoi(value);
        else if (!strcmp(name, "--cancel-every")) opt.cancel_every = atoi(value);
        else if (!strcmp(name, "--usage")) opt.usage = atoi(value);
        else if (!strcmp(name, "--warmup")) opt.warmup = atof(value);
        else if (!strcmp(name, "--seconds")) opt.seconds = atof(value);
        else usage(name);
    }
    if (opt.prompt_bytes > 32768) usage("--prompt-bytes: at most 32768");
}

int main(int argc, char **argv) {
    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    client_wire = wire_of(opt.path, strlen(opt.path));
    end_mark = END_MARKS[client_wire], end_length = (int)strlen(end_mark);
    poller = epoll_create1(EPOLL_CLOEXEC);
    provider_listen();
    if (strcmp(opt.mode, "mock")) {
        if (!opt.target.sin_port) usage("no --target");
        holding = !strcmp(opt.mode, "hold"), steady = !strcmp(opt.mode, "closed");
        if (!holding && !steady && strcmp(opt.mode, "open")) usage(opt.mode);
        // The clients of a closed loop start at random moments of the warm-up, so that their frames fall apart.
        if (steady) opt.rate = opt.interval_ms > 0 ? opt.clients / (opt.warmup * 0.6) : 1e9;
        arrival.fire = arrive, phase.fire = holding ? settle_hold : window;
        Nanos t = now();
        timer_start(&arrival, t);
        timer_start(&phase, t + (Nanos)(opt.warmup * 1e9));
    }
    run();
    if (strcmp(opt.mode, "mock") && !holding) report();
    return 0;
}
