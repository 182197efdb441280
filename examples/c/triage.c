/*
 * Sorts what patients say into emergency, urgent and routine, and gives a sentence of advice on each: statements from the
 * command line, or one a line from the input. Ctrl-C stops an answer; while none is made it ends the program.
 *
 *     cc -std=c11 -Iffi/include examples/c/triage.c -Ltarget/release -ledgeslm -o triage
 *     ./triage MODEL_DIRECTORY [--max-tokens N] [--statement TEXT]...
 *
 * It shows how to use the library, not how to do medicine.
 */
#include <edgeslm.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(literal) {literal, sizeof literal - 1}
#define COUNT(array) (sizeof array / sizeof array[0])

static const slm_str labels[] = {TEXT("emergency"), TEXT("urgent"), TEXT("routine")};

/* Each conversation begins the same every time, so that a statement costs its own tokens only. Its last message is the statement. */
static slm_message triage[] = {
    {TEXT("system"), TEXT("You sort what patients say. Answer with one word: emergency, urgent or routine.")},
    {TEXT("user"), TEXT("My uncle collapsed and he is not breathing.")},
    {TEXT("assistant"), TEXT("emergency")},
    {TEXT("user"), TEXT("I have had a fever of 39 and a sore throat since yesterday.")},
    {TEXT("assistant"), TEXT("urgent")},
    {TEXT("user"), TEXT("I'd like to move my check-up to next month.")},
    {TEXT("assistant"), TEXT("routine")},
    {TEXT("user"), TEXT("")},
};
static slm_message advice[] = {
    {TEXT("system"), TEXT("You help the receptionist of a clinic. Say in one short sentence what to do next.")},
    {TEXT("user"), TEXT("emergency: My uncle collapsed and he is not breathing.")},
    {TEXT("assistant"), TEXT("Call an ambulance at once and fetch the defibrillator.")},
    {TEXT("user"), TEXT("routine: I'd like to move my check-up to next month.")},
    {TEXT("assistant"), TEXT("Book a new date next month.")},
    {TEXT("user"), TEXT("")},
};

static const slm_cancel *cancel;
static volatile sig_atomic_t answering;

static void on_interrupt(int signal_number) {
    /* Standard C forgets the handler when it is called. */
    signal(signal_number, answering ? on_interrupt : SIG_DFL);
    if (answering)
        slm_cancel_signal(cancel);
    else
        raise(signal_number);
}

/* Prints a piece of an answer on the line, without what a terminal would obey. */
static void print(slm_str text) {
    for (size_t i = 0; i < text.len; i++) {
        const unsigned char byte = (unsigned char)text.data[i];
        /* U+0080 to U+009F are control characters too; the NUL behind the text ends the last one. */
        const int wide = byte == 0xc2 && (unsigned char)text.data[i + 1] < 0xa0;
        putchar(wide || byte < ' ' || byte == 0x7f ? ' ' : byte);
        i += wide ? 1 : 0;
    }
    fflush(stdout);
}

struct kiosk {
    slm_session *triage, *advice;
    slm_generate_options generate;
    slm_classify_options classify;
};

/* Prints the advice as it comes. */
static slm_status advise(struct kiosk *kiosk, slm_error **error) {
    slm_stream *stream = NULL;
    const slm_event *event = NULL;
    slm_status status = slm_chat_stream(kiosk->advice, advice, COUNT(advice), &kiosk->generate, &stream, error);
    while (status == SLM_OK && (status = slm_stream_next(stream, &event, error)) == SLM_OK && event != NULL) {
        if (event->kind == SLM_EVENT_TEXT) print(event->text);
        if (event->kind == SLM_EVENT_FINISHED && event->finish_reason == SLM_FINISH_CANCELLED) fputs(" (stopped)", stdout);
    }
    slm_stream_free(stream);
    return status;
}

static slm_status look_at(struct kiosk *kiosk, const char *statement, slm_error **error) {
    float probabilities[COUNT(labels)];
    size_t best = 0;
    char labelled[4200];
    triage[COUNT(triage) - 1].content = (slm_str){statement, SLM_NUL};
    slm_status status = slm_chat_classify(kiosk->triage, triage, COUNT(triage), labels, COUNT(labels), &kiosk->classify,
                                          probabilities, &best, error);
    if (status != SLM_OK) return status;
    printf("%-9s %.3f ", labels[best].data, (double)probabilities[best]);
    fflush(stdout);
    snprintf(labelled, sizeof labelled, "%s: %s", labels[best].data, statement);
    advice[COUNT(advice) - 1].content = (slm_str){labelled, SLM_NUL};
    return advise(kiosk, error);
}

/* Looks at a statement; an interrupt gives up on it alone. */
static slm_status handle(struct kiosk *kiosk, const char *statement, slm_error **error) {
    if (*statement == '\0') return SLM_OK;
    slm_cancel_reset(cancel);
    answering = 1;
    slm_status status = look_at(kiosk, statement, error);
    answering = 0;
    if (status == SLM_CANCELLED) {
        fputs("(stopped)", stdout);
        slm_error_free(*error);
        *error = NULL;
        status = SLM_OK;
    }
    putchar('\n');
    fflush(stdout);
    return status;
}

int main(int argc, char **argv) {
    static const slm_str stop = TEXT("\n");
    struct kiosk kiosk = {NULL, NULL, {0}, {0}};
    const slm_model *model = NULL;
    slm_error *error = NULL;
    unsigned long max_tokens = 32;
    int statements = 0;

    for (int i = 2; i < argc; i += 2) {
        const int is_statement = strcmp(argv[i], "--statement") == 0;
        if (i + 1 == argc || (!is_statement && strcmp(argv[i], "--max-tokens") != 0)) argc = 0;
        else if (is_statement) statements++;
        else max_tokens = strtoul(argv[i + 1], NULL, 10);
    }
    if (argc < 2) {
        fputs("usage: triage MODEL_DIRECTORY [--max-tokens N] [--statement TEXT]...\n", stderr);
        return EXIT_FAILURE;
    }
    slm_status status = slm_cancel_new(&cancel, &error);
    if (status == SLM_OK) status = slm_generate_options_init(&kiosk.generate, sizeof kiosk.generate, &error);
    if (status == SLM_OK) status = slm_classify_options_init(&kiosk.classify, sizeof kiosk.classify, &error);
    if (status == SLM_OK) status = slm_model_load(argv[1], SLM_NUL, NULL, &model, &error);
    if (status == SLM_OK) status = slm_session_new(model, NULL, &kiosk.triage, &error);
    if (status == SLM_OK) status = slm_session_new(model, NULL, &kiosk.advice, &error);
    slm_model_free(model); /* The sessions keep it loaded. */

    kiosk.generate.max_tokens = (uint32_t)max_tokens;
    kiosk.generate.stop = &stop;
    kiosk.generate.stop_count = 1;
    kiosk.generate.cancel = kiosk.classify.cancel = cancel;
    signal(SIGINT, on_interrupt);
    for (int i = 2; status == SLM_OK && i < argc; i += 2)
        if (strcmp(argv[i], "--statement") == 0) status = handle(&kiosk, argv[i + 1], &error);
    char line[4096];
    while (status == SLM_OK && statements == 0 && fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        status = handle(&kiosk, line, &error);
    }

    if (status != SLM_OK) {
        const slm_str file = slm_error_file(error);
        fprintf(stderr, "error: %s%s%s\n", file.data, file.len > 0 ? ": " : "", slm_error_message(error).data);
    }
    signal(SIGINT, SIG_DFL);
    slm_session_free(kiosk.triage);
    slm_session_free(kiosk.advice);
    slm_cancel_free(cancel);
    slm_error_free(error);
    return status == SLM_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
