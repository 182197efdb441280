/* Writes llama.cpp's logits of every position.
 *
 * usage: logits-llama KERNELS FILE THREADS POSITIONS
 *
 * Each line of standard input is a sequence of at most POSITIONS tokens, numbers with spaces between. The answer on standard
 * output is a row of the vocabulary's logits for each token, float32 in the machine's byte order. KERNELS is as for measure-llama.
 */

#include "runtime.h"

/* Reads the numbers of a line; returns how many. */
static int read_tokens(const char *line, llama_token *tokens, int most, int vocabulary) {
    int count = 0;
    for (;;) {
        char *end;
        long token = strtol(line, &end, 10);
        if (end == line) {
            return count;
        }
        if (count == most || token < 0 || token >= vocabulary) {
            fail("a line has too many tokens, or one that is unknown");
        }
        tokens[count++] = (llama_token)token;
        line = end;
    }
}

/* Computes the tokens from an empty cache, in as many batches as the context wants, and writes the logits. */
static void answer(const struct runtime *runtime, struct llama_batch batch, const llama_token *tokens, int count) {
    int most = (int)llama_n_batch(runtime->context);
    llama_memory_clear(llama_get_memory(runtime->context), false);
    for (int start = 0; start < count; start += most) {
        batch.n_tokens = count - start < most ? count - start : most;
        for (int index = 0; index < batch.n_tokens; index++) {
            batch.token[index] = tokens[start + index];
            batch.pos[index] = start + index;
            batch.n_seq_id[index] = 1;
            batch.seq_id[index][0] = 0;
            batch.logits[index] = 1;
        }
        if (llama_decode(runtime->context, batch) != 0) {
            fail("llama_decode failed");
        }
        for (int index = 0; index < batch.n_tokens; index++) {
            const float *logits = llama_get_logits_ith(runtime->context, index);
            size_t width = (size_t)runtime->vocabulary;
            if (!logits || fwrite(logits, sizeof *logits, width, stdout) != width) {
                fail("the logits cannot be written");
            }
        }
    }
    if (fflush(stdout) != 0) {
        fail("the logits cannot be written");
    }
}

int main(int count, char **arguments) {
    if (count != 5) {
        fail("usage: logits-llama KERNELS FILE THREADS POSITIONS");
    }
    int positions = positive(arguments[4]);
    struct runtime runtime = open_runtime(arguments[1], arguments[2], positive(arguments[3]), positions);
    struct llama_batch batch = llama_batch_init((int)llama_n_batch(runtime.context), 0, 1);
    llama_token *tokens = malloc((size_t)positions * sizeof *tokens);
    char *line = NULL;
    size_t size = 0;
    if (!tokens) {
        fail("out of memory");
    }
    while (getline(&line, &size, stdin) >= 0) {
        answer(&runtime, batch, tokens, read_tokens(line, tokens, positions, runtime.vocabulary));
    }
    return 0;
}
