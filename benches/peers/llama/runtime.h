/* What the programs in this folder share: llama.cpp with a model and a context. */

#include <ggml-backend.h>
#include <llama.h>

#include <stdio.h>
#include <stdlib.h>

struct runtime {
    struct llama_model *model;
    struct llama_context *context;
    int vocabulary;
};

static void fail(const char *what) {
    fprintf(stderr, "llama.cpp: %s\n", what);
    exit(1);
}

static int positive(const char *text) {
    char *end;
    long number = strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || number < 1 || number > 1 << 20) {
        fail("counts of threads and tokens are whole numbers above 0");
    }
    return (int)number;
}

static void show_errors(enum ggml_log_level level, const char *text, void *unused) {
    (void)unused;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

/* Opens the GGUF file `path` for at most `positions` positions. `kernels` is the file of kernels for one kind of CPU,
 * libggml-cpu-*.so. */
static struct runtime open_runtime(const char *kernels, const char *path, int threads, int positions) {
    struct runtime runtime;
    llama_log_set(show_errors, NULL);
    if (!ggml_backend_load(kernels)) {
        fail("this CPU cannot run the kernels");
    }
    runtime.model = llama_model_load_from_file(path, llama_model_default_params());
    if (!runtime.model) {
        fail("the model does not load");
    }
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)positions;
    params.n_batch = 2048;
    params.n_threads = threads;
    params.n_threads_batch = threads;
    runtime.context = llama_init_from_model(runtime.model, params);
    if (!runtime.context) {
        fail("there is no context");
    }
    runtime.vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(runtime.model));
    return runtime;
}
