/*
 * A conversation on the terminal. Ctrl-C stops the answer; end the input to leave.
 *
 *     cc -std=c11 -Iffi/include examples/c/chat.c -Ltarget/release -ledgeslm -o chat
 *     ./chat MODEL_DIRECTORY [MAX_TOKENS]
 */
#include <edgeslm.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The messages of the conversation, whose texts belong to it. */
typedef struct {
    slm_message *messages;
    size_t count;
} conversation;

static const slm_cancel *cancel;

static void on_interrupt(int signal_number) {
    signal(signal_number, on_interrupt); /* Standard C forgets the handler when it is called. */
    slm_cancel_signal(cancel);
}

/* Prints an error and frees it. */
static int fail(slm_error *error) {
    const char *file = slm_error_file(error).data;
    const char *place = slm_error_place(error).data;
    const char *hint = slm_error_hint(error).data;
    fprintf(stderr, "error: %s%s%s%s%s\n", file, *file ? ": " : "", place, *place ? ": " : "", slm_error_message(error).data);
    if (*hint) fprintf(stderr, "hint: %s\n", hint);
    slm_error_free(error);
    return EXIT_FAILURE;
}

static void *checked(void *memory) {
    if (memory == NULL) {
        fputs("error: no memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* Adds a message; `content` becomes the conversation's. */
static void add(conversation *talk, const char *role, char *content) {
    talk->messages = checked(realloc(talk->messages, (talk->count + 1) * sizeof *talk->messages));
    talk->messages[talk->count++] = (slm_message){{role, SLM_NUL}, {content, SLM_NUL}};
}

/* Prints the answer as it comes and adds it to the conversation. */
static slm_status answer(slm_session *session, conversation *talk, const slm_generate_options *options, slm_error **error) {
    slm_stream *stream = NULL;
    const slm_event *event = NULL;
    size_t length = 0;
    char *text = checked(calloc(1, 1));
    slm_status status = slm_chat_stream(session, talk->messages, talk->count, options, &stream, error);
    while (status == SLM_OK && (status = slm_stream_next(stream, &event, error)) == SLM_OK && event != NULL) {
        if (event->kind == SLM_EVENT_TEXT) {
            fputs(event->text.data, stdout);
            fflush(stdout);
            text = checked(realloc(text, length + event->text.len + 1));
            memcpy(text + length, event->text.data, event->text.len + 1);
            length += event->text.len;
        } else if (event->kind == SLM_EVENT_FINISHED) {
            const slm_statistics *statistics = event->statistics;
            printf("\n[%llu tokens, %.1f per second; prompt %llu tokens, %llu of them reused]\n",
                   (unsigned long long)statistics->generated_tokens, statistics->decode_rate,
                   (unsigned long long)statistics->prompt_tokens, (unsigned long long)statistics->reused_tokens);
        }
    }
    slm_stream_free(stream);
    add(talk, "assistant", text);
    return status;
}

int main(int argc, char **argv) {
    const slm_model *model = NULL;
    slm_session *session = NULL;
    slm_error *error = NULL;
    slm_generate_options options;
    conversation talk = {NULL, 0};
    char line[4096];
    slm_status status;

    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL_DIRECTORY [MAX_TOKENS]\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (slm_abi_version() != SLM_ABI_VERSION) {
        fprintf(stderr, "error: edgeslm %s does not fit this program\n", slm_version());
        return EXIT_FAILURE;
    }
    if ((status = slm_cancel_new(&cancel, &error)) == SLM_OK &&
        (status = slm_generate_options_init(&options, sizeof options, &error)) == SLM_OK &&
        (status = slm_model_load(argv[1], SLM_NUL, NULL, &model, &error)) == SLM_OK)
        status = slm_session_new(model, NULL, &session, &error);
    slm_model_free(model); /* The session keeps it loaded. */

    if (status == SLM_OK) {
        options.cancel = cancel;
        if (argc > 2) options.max_tokens = (uint32_t)strtoul(argv[2], NULL, 10);
        signal(SIGINT, on_interrupt);
    }
    while (status == SLM_OK && fputs("> ", stdout) >= 0 && fflush(stdout) == 0 && fgets(line, sizeof line, stdin)) {
        size_t length = strcspn(line, "\n");
        char *content = checked(malloc(length + 1));
        memcpy(content, line, length);
        content[length] = '\0';
        add(&talk, "user", content);
        slm_cancel_reset(cancel);
        status = answer(session, &talk, &options, &error);
    }
    putchar('\n');

    for (size_t i = 0; i < talk.count; i++) free((void *)talk.messages[i].content.data);
    free(talk.messages);
    slm_session_free(session);
    signal(SIGINT, SIG_DFL);
    slm_cancel_free(cancel);
    return status == SLM_OK ? EXIT_SUCCESS : fail(error);
}
