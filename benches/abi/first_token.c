/* Prints the nanoseconds from loading a model to the first token of an answer, and the token. As first_token.rs. */
#define _POSIX_C_SOURCE 200809L
#include <edgeslm.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long long nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
    const slm_model *model = NULL;
    slm_session *session = NULL;
    slm_stream *stream = NULL;
    slm_error *error = NULL;
    const slm_event *event = NULL;
    slm_model_options load;
    slm_generate_options generate;
    long long started;
    int found = 0;

    if (argc != 4) return fprintf(stderr, "usage: %s MODEL_DIRECTORY THREADS QUESTION\n", argv[0]), 2;
    started = nanoseconds();
    if (slm_model_options_init(&load, sizeof load, &error) == SLM_OK &&
        slm_generate_options_init(&generate, sizeof generate, &error) == SLM_OK) {
        load.threads = (uint32_t)strtoul(argv[2], NULL, 10);
        generate.max_tokens = 1;
        if (slm_model_load(argv[1], SLM_NUL, &load, &model, &error) == SLM_OK &&
            slm_session_new(model, NULL, &session, &error) == SLM_OK &&
            slm_turn_stream(session, argv[3], SLM_NUL, &generate, &stream, &error) == SLM_OK)
            while (!found && slm_stream_next(stream, &event, &error) == SLM_OK && event != NULL)
                if ((found = event->kind == SLM_EVENT_TOKEN))
                    printf("%lld %lu\n", nanoseconds() - started, (unsigned long)event->token);
    }
    if (error != NULL) fprintf(stderr, "%s\n", slm_error_message(error).data);
    slm_stream_free(stream);
    slm_session_free(session);
    slm_model_free(model);
    slm_error_free(error);
    return !found;
}
