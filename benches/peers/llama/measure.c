/* Measures llama.cpp on a GGUF file: one JSON object on standard output.
 *
 * usage: measure-llama KERNELS FILE THREADS PROMPT_TOKENS NEW_TOKENS
 *
 * KERNELS is the file of kernels for one kind of CPU, libggml-cpu-*.so.
 */

#include <ggml-backend.h>
#include <llama.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The prompt before the one that is measured, and the tokens after it. */
enum { WARM_UP_PROMPT = 32, WARM_UP_NEW = 2 };

static void fail(const char *what) {
    fprintf(stderr, "measure-llama: %s\n", what);
    exit(1);
}

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

static int positive(const char *text) {
    char *end;
    long number = strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || number < 1 || number > 1 << 20) {
        fail("THREADS, PROMPT_TOKENS and NEW_TOKENS are whole numbers above 0");
    }
    return (int)number;
}

static void show_errors(enum ggml_log_level level, const char *text, void *unused) {
    (void)unused;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
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
    llama_log_set(show_errors, NULL);

    double start = seconds();
    if (!ggml_backend_load(arguments[1])) {
        fail("this CPU cannot run the kernels");
    }
    struct llama_model *model = llama_model_load_from_file(arguments[2], llama_model_default_params());
    if (!model) {
        fail("the model does not load");
    }
    struct llama_context_params params = llama_context_default_params();
    int longest = prompt_tokens > WARM_UP_PROMPT ? prompt_tokens : WARM_UP_PROMPT;
    params.n_ctx = (uint32_t)(longest + new_tokens + WARM_UP_NEW + 1);
    params.n_batch = 2048;
    params.n_threads = threads;
    params.n_threads_batch = threads;
    struct llama_context *context = llama_init_from_model(model, params);
    if (!context) {
        fail("there is no context");
    }
    double load = seconds() - start;

    int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
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
