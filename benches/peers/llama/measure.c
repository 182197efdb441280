/* Measures llama.cpp on a GGUF file: one JSON object on standard output.
 *
 * usage: measure-llama KERNELS FILE THREADS PROMPT_TOKENS NEW_TOKENS
 *
 * KERNELS is the file of kernels for one kind of CPU, libggml-cpu-*.so.
 */

#include "runtime.h"

#include <string.h>
#include <time.h>

/* The prompt before the one that is measured, and the tokens after it. */
enum { WARM_UP_PROMPT = 32, WARM_UP_NEW = 2 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A line of /proc/self/status, in bytes. */
static long long status(const char *field) {
    FILE *lines = fopen("/proc/self/status", "r");
    char line[256];
    long long kilobytes = -1;
    size_t length = strlen(field);
    while (lines && fgets(line, sizeof line, lines)) {
        if (strncmp(line, field, length) == 0 && line[length] == ':') {
            kilobytes = atoll(line + length + 1);
        }
    }
    if (!lines || kilobytes < 0) {
        fail("/proc/self/status does not tell the memory");
    }
    fclose(lines);
    return kilobytes * 1024;
}

/* The most probable token after `count` more tokens. */
static llama_token next(struct llama_context *context, int vocabulary, llama_token *tokens, int count) {
    /* The context splits what it is given, but not beyond its batch. */
    int batch = (int)llama_n_batch(context);
    for (int start = 0; start < count; start += batch) {
        int length = count - start < batch ? count - start : batch;
        if (llama_decode(context, llama_batch_get_one(tokens + start, length)) != 0) {
            fail("llama_decode failed");
        }
    }
    const float *logits = llama_get_logits_ith(context, -1);
    if (!logits) {
        fail("there are no logits");
    }
    llama_token best = 0;
    for (llama_token token = 1; token < vocabulary; token++) {
        if (logits[token] > logits[best]) {
            best = token;
        }
    }
    return best;
}

int main(int count, char **arguments) {
    if (count != 6) {
        fail("usage: measure-llama KERNELS FILE THREADS PROMPT_TOKENS NEW_TOKENS");
    }
    int threads = positive(arguments[3]), prompt_tokens = positive(arguments[4]);
    int new_tokens = positive(arguments[5]);
    int longest = prompt_tokens > WARM_UP_PROMPT ? prompt_tokens : WARM_UP_PROMPT;

    double start = seconds();
    struct runtime runtime =
        open_runtime(arguments[1], arguments[2], threads, longest + new_tokens + WARM_UP_NEW + 1);
    double load = seconds() - start;

    struct llama_context *context = runtime.context;
    int vocabulary = runtime.vocabulary;
    llama_token *prompt = malloc((size_t)longest * sizeof *prompt);
    if (!prompt) {
        fail("out of memory");
    }
    for (int index = 0; index < longest; index++) {
        prompt[index] = 100 + index % 1000;
    }
    llama_token token = next(context, vocabulary, prompt, WARM_UP_PROMPT);
    for (int index = 0; index < WARM_UP_NEW; index++) {
        token = next(context, vocabulary, &token, 1);
    }
    llama_memory_clear(llama_get_memory(context), false);

    start = seconds();
    token = next(context, vocabulary, prompt, prompt_tokens);
    double first = seconds();
    for (int index = 0; index < new_tokens; index++) {
        token = next(context, vocabulary, &token, 1);
    }
    double end = seconds();
    printf("{\"load_s\": %.6f, \"prefill_tokens_per_s\": %.6f, \"decode_tokens_per_s\": %.6f, "
           "\"peak_rss_bytes\": %lld, \"anonymous_bytes\": %lld}\n",
           load, prompt_tokens / (first - start), new_tokens / (end - first), status("VmHWM"),
           status("RssAnon"));
    return 0;
}
