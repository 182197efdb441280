/*
 * Eight threads with a session each on one model, a thousand short requests a thread: threads MODEL_DIRECTORY.
 * Every answer must be the one that a single thread gets. Prints the first that is not and exits with 1.
 */
#include <edgeslm.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8, REQUESTS = 1000, KINDS = 24, LONGEST = 4, LABELS = 2 };

/* The tokens of an answer, or the probabilities of labels. */
typedef struct {
    uint32_t tokens[LONGEST];
    size_t token_count;
    float probabilities[LABELS];
} answer;

typedef struct {
    const slm_model *model;
    const answer *expected;
    unsigned first;
    pthread_t thread;
} worker;

static void fail(const char *what, slm_error *error) {
    printf("threads.c: %s: %s\n", what, error != NULL ? slm_error_message(error).data : "wrong");
    exit(EXIT_FAILURE);
}

static int32_t note(void *user_data, const slm_event *event) {
    answer *result = user_data;
    if (event->kind == SLM_EVENT_TOKEN && result->token_count < LONGEST) result->tokens[result->token_count++] = event->token;
    return SLM_CONTINUE;
}

/* One of KINDS different requests: prompts of other lengths and beginnings, one to four tokens, or two labels. */
static answer ask(slm_session *session, unsigned kind) {
    slm_str labels[LABELS] = {{" yes", SLM_NUL}, {" no", SLM_NUL}};
    answer result = {0};
    slm_error *error = NULL;
    slm_generate_options options;
    char prompt[64];
    snprintf(prompt, sizeof prompt, "%.*s pump %u?", (int)(kind % 7), "Is the", kind);
    if (kind % 8 == 7) {
        if (slm_classify(session, prompt, SLM_NUL, labels, LABELS, NULL, result.probabilities, NULL, &error) != SLM_OK)
            fail("classify", error);
        return result;
    }
    if (slm_generate_options_init(&options, sizeof options, &error) != SLM_OK) fail("options", error);
    options.max_tokens = 1 + kind % LONGEST;
    options.flags = SLM_IGNORE_STOP_TOKENS;
    if (slm_generate(session, prompt, SLM_NUL, &options, note, &result, &error) != SLM_OK) fail("generate", error);
    if (result.token_count != options.max_tokens) fail("the number of tokens", NULL);
    return result;
}

static void *work(void *argument) {
    const worker *own = argument;
    slm_session *session = NULL;
    slm_error *error = NULL;
    if (slm_session_new(own->model, NULL, &session, &error) != SLM_OK) fail("session", error);
    for (unsigned i = 0; i < REQUESTS; i++) {
        const unsigned kind = (own->first + 5 * i) % KINDS;
        const answer result = ask(session, kind);
        if (memcmp(&result, &own->expected[kind], sizeof result) != 0) fail("an answer among threads", NULL);
    }
    slm_session_free(session);
    return NULL;
}

int main(int argc, char **argv) {
    answer expected[KINDS];
    worker workers[THREADS];
    const slm_model *model = NULL;
    slm_session *session = NULL;
    slm_error *error = NULL;
    size_t different = 0;
    if (argc < 2) return EXIT_FAILURE;
    if (slm_model_load(argv[1], SLM_NUL, NULL, &model, &error) != SLM_OK) fail("load", error);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if (slm_session_new(model, NULL, &session, &error) != SLM_OK) fail("session", error);
        expected[kind] = ask(session, kind);
        different += kind > 0 && memcmp(&expected[kind], &expected[kind - 1], sizeof expected[kind]) != 0;
        slm_session_free(session);
    }
    if (different < KINDS / 2) fail("the requests are alike", NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].model = model;
        workers[i].expected = expected;
        workers[i].first = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) fail("a thread", NULL);
    }
    for (unsigned i = 0; i < THREADS; i++) pthread_join(workers[i].thread, NULL);
    slm_model_free(model);
    printf("%d answers are right\n", THREADS * REQUESTS);
    return EXIT_SUCCESS;
}
