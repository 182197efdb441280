/*
 * The promises of edgeslm.h, as a C program meets them: contract MODEL_DIRECTORY.
 * Prints the first promise that is broken and exits with 1.
 */
#include <edgeslm.h>
#include <edgeslm.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int holds, const char *promise, int line) {
    if (!holds) {
        printf("contract.c:%d: broken: %s\n", line, promise);
        exit(EXIT_FAILURE);
    }
}

#define REQUIRE(promise) require((promise) != 0, #promise, __LINE__)

/* Requires that a call gave `expected`, and an error if and only if it failed; frees the error. */
static void expect(slm_status status, slm_status expected, slm_error *error, const char *call, int line) {
    if (status != expected || slm_error_code(error) != expected || (error != NULL) != (expected != SLM_OK)) {
        printf("contract.c:%d: %s gave %s: %s\n", line, call, slm_status_name(status), slm_error_message(error).data);
        exit(EXIT_FAILURE);
    }
    if (expected != SLM_OK) require(slm_error_message(error).len > 0, "a failure has a message", line);
    slm_error_free(error);
}

/* The call's last argument must be &error. */
#define EXPECT(expected, call)                                 \
    do {                                                       \
        slm_error *error = NULL;                               \
        slm_status status_of_call = call;                      \
        expect(status_of_call, expected, error, #call, __LINE__); \
    } while (0)

#define PROMPT "Is the door open?"

/* An answer as text and tokens. */
typedef struct {
    char text[4096];
    size_t length;
    uint32_t tokens[64];
    size_t token_count;
    int32_t finish_reason;
    int32_t completion;
    uint64_t prompt_done;
    slm_session *session;
    int32_t verdict;
    size_t calls;
} answer;

static void note(answer *result, const slm_event *event) {
    REQUIRE(event->text.data != NULL);
    switch (event->kind) {
    case SLM_EVENT_PROMPT:
        REQUIRE(event->prompt_done > result->prompt_done && event->prompt_done <= event->prompt_total);
        result->prompt_done = event->prompt_done;
        break;
    case SLM_EVENT_TOKEN:
        REQUIRE(result->token_count < 64);
        result->tokens[result->token_count++] = event->token;
        break;
    case SLM_EVENT_TEXT:
        REQUIRE(event->text.len > 0 && strlen(event->text.data) == event->text.len);
        REQUIRE(result->length + event->text.len < sizeof result->text);
        memcpy(result->text + result->length, event->text.data, event->text.len + 1);
        result->length += event->text.len;
        break;
    case SLM_EVENT_FINISHED:
        REQUIRE(event->statistics != NULL && event->statistics->generated_tokens == result->token_count);
        result->finish_reason = event->finish_reason;
        result->completion = event->completion;
        REQUIRE(event->completion >= SLM_COMPLETION_COMPLETE && event->completion <= SLM_COMPLETION_EXPIRED);
        break;
    default:
        REQUIRE(!"an event has a kind");
    }
}

static int32_t on_event(void *user_data, const slm_event *event) {
    answer *result = user_data;
    uint64_t length;
    REQUIRE(result->finish_reason == 0);
    result->calls++;
    note(result, event);
    EXPECT(SLM_BUSY, slm_session_length(result->session, &length, &error));
    return event->kind == SLM_EVENT_TOKEN ? result->verdict : SLM_CONTINUE;
}

static void pull(slm_stream *stream, answer *result) {
    const slm_event *event = NULL;
    for (;;) {
        EXPECT(SLM_OK, slm_stream_next(stream, &event, &error));
        if (event == NULL) break;
        note(result, event);
    }
    EXPECT(SLM_OK, slm_stream_next(stream, &event, &error));
    REQUIRE(event == NULL);
}

/* Pulled and pushed, with a cache and without, the answer is the same. */
static void answers_agree(const slm_model *model) {
    answer pulled = {0}, pushed = {0};
    slm_session *session = NULL;
    slm_stream *stream = NULL;
    slm_generate_options options;
    slm_statistics statistics;
    uint64_t length = 0;

    EXPECT(SLM_OK, slm_generate_options_init(&options, sizeof options, &error));
    options.max_tokens = 12;
    options.flags = SLM_IGNORE_STOP_TOKENS;
    EXPECT(SLM_OK, slm_session_new(model, NULL, &session, &error));
    EXPECT(SLM_OK, slm_stream_new(session, PROMPT, SLM_NUL, &options, &stream, &error));
    pull(stream, &pulled);
    REQUIRE(pulled.token_count == 12 && pulled.finish_reason == SLM_FINISH_MAX_TOKENS && pulled.length > 0);

    /* An open stream keeps its session busy, also after its last event. */
    EXPECT(SLM_BUSY, slm_session_length(session, &length, &error));
    EXPECT(SLM_BUSY, slm_session_reset(session, &error));
    slm_stream_free(stream);
    EXPECT(SLM_OK, slm_session_length(session, &length, &error));
    REQUIRE(length > 12);

    memset(&statistics, 0xff, sizeof statistics);
    EXPECT(SLM_OK, slm_session_statistics(session, &statistics, sizeof statistics, &error));
    REQUIRE(statistics.generated_tokens == 12 && statistics.prompt_tokens > 0 && statistics.reused_tokens == 0);
    REQUIRE(statistics.time_to_first_token > 0 && statistics.cache_bytes > 0);

    pushed.session = session;
    EXPECT(SLM_OK, slm_generate(session, PROMPT, strlen(PROMPT), &options, on_event, &pushed, &error));
    REQUIRE(pushed.finish_reason == SLM_FINISH_MAX_TOKENS);
    REQUIRE(strcmp(pulled.text, pushed.text) == 0);
    REQUIRE(memcmp(pulled.tokens, pushed.tokens, sizeof pulled.tokens) == 0);
    EXPECT(SLM_OK, slm_session_statistics(session, &statistics, sizeof statistics, &error));
    REQUIRE(statistics.reused_tokens == statistics.prompt_tokens - 1);

    EXPECT(SLM_OK, slm_session_rewind(session, 2, &error));
    EXPECT(SLM_OK, slm_session_length(session, &length, &error));
    REQUIRE(length == 2);
    EXPECT(SLM_OK, slm_session_reset(session, &error));
    EXPECT(SLM_OK, slm_session_length(session, &length, &error));
    REQUIRE(length == 0);
    slm_session_free(session);
}

/* A callback can end the answer and keep it, or drop it. */
static void callbacks_decide(const slm_model *model) {
    static const int32_t verdicts[] = {SLM_STOP, SLM_CANCEL, 77};
    slm_generate_options options;
    EXPECT(SLM_OK, slm_generate_options_init(&options, sizeof options, &error));
    options.flags = SLM_IGNORE_STOP_TOKENS;
    for (size_t i = 0; i < 3; i++) {
        answer result = {0};
        uint64_t length = 0;
        EXPECT(SLM_OK, slm_session_new(model, NULL, &result.session, &error));
        result.verdict = verdicts[i];
        EXPECT(i == 2 ? SLM_INVALID_ARGUMENT : SLM_OK,
               slm_generate(result.session, PROMPT, SLM_NUL, &options, on_event, &result, &error));
        REQUIRE(result.token_count == 1 && result.finish_reason == 0);
        EXPECT(SLM_OK, slm_session_length(result.session, &length, &error));
        REQUIRE(i == 0 ? length > 0 : length == 0);
        slm_session_free(result.session);
    }
}

/* A cancel flag and a deadline end an answer regularly and a classification with an error. */
static void cancelling_ends(const slm_model *model) {
    slm_str labels[] = {{" yes", SLM_NUL}, {" no", SLM_NUL}};
    slm_classify_options classify;
    slm_generate_options options;
    slm_session *session = NULL;
    slm_stream *stream = NULL;
    const slm_cancel *cancel = NULL;
    answer result = {0};
    float probabilities[2] = {-1, -1};

    EXPECT(SLM_OK, slm_cancel_new(&cancel, &error));
    EXPECT(SLM_OK, slm_generate_options_init(&options, sizeof options, &error));
    EXPECT(SLM_OK, slm_classify_options_init(&classify, sizeof classify, &error));
    EXPECT(SLM_OK, slm_session_new(model, NULL, &session, &error));
    options.cancel = cancel;
    options.max_tokens = 4;
    options.flags = SLM_IGNORE_STOP_TOKENS;
    classify.cancel = cancel;
    EXPECT(SLM_OK, slm_stream_new(session, PROMPT, SLM_NUL, &options, &stream, &error));
    slm_cancel_signal(cancel);
    pull(stream, &result);
    REQUIRE(result.finish_reason == SLM_FINISH_CANCELLED && result.token_count == 0);
    slm_stream_free(stream);

    EXPECT(SLM_CANCELLED, slm_classify(session, PROMPT, SLM_NUL, labels, 2, &classify, probabilities, NULL, &error));
    REQUIRE(probabilities[0] == -1);
    slm_cancel_reset(cancel);
    EXPECT(SLM_OK, slm_classify(session, PROMPT, SLM_NUL, labels, 2, &classify, probabilities, NULL, &error));

    /* A freed flag does not disturb the stream that was given it. */
    EXPECT(SLM_OK, slm_stream_new(session, PROMPT, SLM_NUL, &options, &stream, &error));
    slm_cancel_free(cancel);
    memset(&result, 0, sizeof result);
    pull(stream, &result);
    REQUIRE(result.token_count > 0);
    slm_stream_free(stream);
    slm_session_free(session);
}

/* Handles may be freed in any order. */
static void owners_do_not_matter(const char *directory) {
    slm_session *session = NULL;
    slm_stream *stream = NULL;
    const slm_model *model = NULL, *clone = NULL;
    slm_generate_options options;
    answer result = {0};

    EXPECT(SLM_OK, slm_generate_options_init(&options, sizeof options, &error));
    options.max_tokens = 3;
    options.flags = SLM_IGNORE_STOP_TOKENS;
    EXPECT(SLM_OK, slm_model_load(directory, SLM_NUL, NULL, &model, &error));
    EXPECT(SLM_OK, slm_model_clone(model, &clone, &error));
    slm_model_free(model);
    EXPECT(SLM_OK, slm_session_new(clone, NULL, &session, &error));
    slm_model_free(clone);
    EXPECT(SLM_OK, slm_stream_new(session, PROMPT, SLM_NUL, &options, &stream, &error));
    slm_session_free(session);
    pull(stream, &result);
    REQUIRE(result.token_count == 3);
    slm_stream_free(stream);

    slm_stream_free(NULL);
    slm_session_free(NULL);
    slm_model_free(NULL);
    slm_cancel_free(NULL);
    slm_error_free(NULL);
    slm_string_free(NULL);
}

/* Probabilities of labels sum to 1. */
static void labels_are_scored(const slm_model *model) {
    slm_str labels[] = {{" yes", SLM_NUL}, {" no", SLM_NUL}, {" not now, later", 8}};
    slm_str twice[] = {{" no", SLM_NUL}, {" no", SLM_NUL}};
    slm_session *session = NULL;
    float probabilities[3] = {-1, -1, -1};
    size_t best = 99;
    EXPECT(SLM_OK, slm_session_new(model, NULL, &session, &error));
    EXPECT(SLM_OK, slm_classify(session, PROMPT, SLM_NUL, labels, 3, NULL, probabilities, &best, &error));
    REQUIRE(fabs(1 - probabilities[0] - probabilities[1] - probabilities[2]) < 1e-5);
    REQUIRE(best < 3);
    for (size_t i = 0; i < 3; i++) REQUIRE(probabilities[i] <= probabilities[best]);
    EXPECT(SLM_INVALID_ARGUMENT, slm_classify(session, PROMPT, SLM_NUL, twice, 2, NULL, probabilities, &best, &error));
    EXPECT(SLM_INVALID_ARGUMENT, slm_classify(session, PROMPT, SLM_NUL, NULL, 0, NULL, probabilities, &best, &error));
    slm_session_free(session);
}

/* A calibration decides, and is refused for another prompt. */
static void calibrations_decide(const slm_model *model) {
    enum { COUNT = 12 };
    slm_str classes[] = {{"yes", SLM_NUL}, {"no", SLM_NUL}};
    slm_str labels[] = {{" yes", SLM_NUL}, {" no", SLM_NUL}};
    char prompts[COUNT][32];
    slm_labelled_prompt examples[COUNT];
    slm_calibration_options options;
    slm_calibration_facts facts;
    slm_decision decision = {99, -1, 99};
    slm_session *session = NULL;
    const slm_calibration *calibration = NULL, *parsed = NULL;
    slm_string json = {NULL, 0};
    float probabilities[2] = {-1, -1};
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(prompts[i], sizeof prompts[i], "Door %u is %s:", (unsigned)i, i % 2 ? "shut" : "ajar");
        examples[i].prompt.data = prompts[i];
        examples[i].prompt.len = SLM_NUL;
        examples[i].class_index = i % 2;
    }
    EXPECT(SLM_OK, slm_session_new(model, NULL, &session, &error));
    EXPECT(SLM_OK, slm_calibration_options_init(&options, sizeof options, &error));
    options.risk = 0;
    EXPECT(SLM_OK, slm_calibration_fit(model, session, "doors", SLM_NUL, classes, 2, labels, 2, examples, COUNT, &options,
                                       &calibration, &error));
    EXPECT(SLM_OK, slm_calibration_describe(calibration, &facts, sizeof facts, &error));
    REQUIRE(facts.class_count == 2 && facts.label_count == 2 && facts.examples == COUNT && facts.threshold == 0);
    REQUIRE(strcmp(slm_calibration_class(calibration, 1).data, "no") == 0);
    REQUIRE(slm_calibration_class(calibration, 2).len == 0 && slm_calibration_class(NULL, 0).len == 0);
    EXPECT(SLM_OK, slm_decide(session, prompts[0], SLM_NUL, calibration, NULL, &decision, sizeof decision, probabilities,
                              &error));
    REQUIRE(decision.class_index < 2 && decision.abstain == 0);
    REQUIRE(decision.probability == probabilities[decision.class_index]);
    REQUIRE(fabs(1 - probabilities[0] - probabilities[1]) < 1e-5);
    EXPECT(SLM_OK, slm_calibration_json(calibration, &json, &error));
    EXPECT(SLM_OK, slm_calibration_parse(model, json.data, json.len, NULL, 0, &parsed, &error));
    slm_calibration_free(parsed);
    EXPECT(SLM_INVALID_ARGUMENT, slm_calibration_parse(model, json.data, json.len, "windows", SLM_NUL, &parsed, &error));
    EXPECT(SLM_INVALID_MODEL, slm_calibration_parse(model, "[]", SLM_NUL, NULL, 0, &parsed, &error));
    EXPECT(SLM_NULL_POINTER, slm_calibration_load(NULL, "x", SLM_NUL, NULL, 0, &parsed, &error));
    EXPECT(SLM_NULL_POINTER, slm_decide(session, "x", 1, NULL, NULL, &decision, sizeof decision, NULL, &error));
    EXPECT(SLM_NULL_POINTER, slm_decide(session, "x", 1, calibration, NULL, NULL, sizeof decision, NULL, &error));
    EXPECT(SLM_INVALID_ARGUMENT, slm_calibration_fit(model, session, "doors", SLM_NUL, classes, 2, labels, 2, examples, 2,
                                                     NULL, &parsed, &error));
    slm_string_free(&json);
    slm_calibration_free(calibration);
    slm_calibration_free(NULL);
    slm_session_free(session);
}

/* The files of a directory through callbacks, which count their calls. */
typedef struct {
    const char *directory;
    int calls;
    slm_status size_result;
    int64_t longest;
} pack;

static FILE *open_file(const pack *files, slm_str name) {
    char path[4096];
    REQUIRE(strlen(name.data) == name.len && strstr(name.data, "..") == NULL && name.data[0] != '/');
    snprintf(path, sizeof path, "%s/%s", files->directory, name.data);
    return fopen(path, "rb");
}

static slm_status size_of_file(void *user_data, slm_str name, uint64_t *size) {
    pack *files = user_data;
    FILE *file = open_file(files, name);
    files->calls++;
    if (file == NULL) return SLM_NOT_FOUND;
    REQUIRE(fseek(file, 0, SEEK_END) == 0);
    *size = (uint64_t)ftell(file);
    fclose(file);
    return files->size_result;
}

static int64_t read_file(void *user_data, slm_str name, uint64_t offset, void *buffer, size_t length) {
    pack *files = user_data;
    FILE *file = open_file(files, name);
    int64_t count;
    files->calls++;
    REQUIRE(file != NULL && length > 0 && fseek(file, (long)offset, SEEK_SET) == 0);
    if (files->longest >= 0 && length > (size_t)files->longest) length = (size_t)files->longest;
    count = (int64_t)fread(buffer, 1, length, file);
    fclose(file);
    return count;
}

/* A model that the program reads itself answers as the directory's does, and failures name the file. */
static void callbacks_read(const char *directory, const slm_model *model) {
    pack files = {directory, 0, SLM_OK, 30000};
    answer results[2] = {{.verdict = SLM_CONTINUE}, {.verdict = SLM_CONTINUE}};
    const slm_model *models[2] = {model, NULL}, *none = NULL;
    slm_source source;
    slm_generate_options options;
    slm_error *failure = NULL;
    int calls;

    EXPECT(SLM_OK, slm_source_init(&source, sizeof source, &error));
    EXPECT(SLM_NULL_POINTER, slm_model_load_from(&source, NULL, &none, &error));
    source.user_data = &files;
    source.size = size_of_file;
    source.read = read_file;
    EXPECT(SLM_OK, slm_model_load_from(&source, NULL, &models[1], &error));
    calls = files.calls;
    REQUIRE(calls > 10);
    EXPECT(SLM_OK, slm_generate_options_init(&options, sizeof options, &error));
    options.max_tokens = 6;
    options.flags = SLM_IGNORE_STOP_TOKENS;
    for (size_t i = 0; i < 2; i++) {
        EXPECT(SLM_OK, slm_session_new(models[i], NULL, &results[i].session, &error));
        EXPECT(SLM_OK, slm_generate(results[i].session, PROMPT, SLM_NUL, &options, on_event, &results[i], &error));
        slm_session_free(results[i].session);
    }
    REQUIRE(results[0].token_count == 6 && strcmp(results[0].text, results[1].text) == 0);
    REQUIRE(files.calls == calls);
    slm_model_free(models[1]);

    files.longest = 0;
    REQUIRE(slm_model_load_from(&source, NULL, &none, &failure) == SLM_IO);
    REQUIRE(strcmp(slm_error_file(failure).data, "genai_config.json") == 0);
    slm_error_free(failure);
    files.size_result = SLM_INTERNAL;
    EXPECT(SLM_IO, slm_model_load_from(&source, NULL, &none, &error));
    files.directory = "/nowhere";
    EXPECT(SLM_NOT_FOUND, slm_model_load_from(&source, NULL, &none, &error));
    REQUIRE(none == NULL);
}

/* Text to tokens and back. */
static void texts_round_trip(const slm_model *model) {
    uint32_t tokens[16];
    size_t count = 0, same = 99;
    slm_string text = {NULL, 0};
    EXPECT(SLM_OK, slm_count_tokens(model, PROMPT, SLM_NUL, SLM_TOKENIZE_PLAIN, &count, &error));
    REQUIRE(count > 1 && count <= 16);
    EXPECT(SLM_BUFFER_TOO_SMALL, slm_tokenize(model, PROMPT, SLM_NUL, SLM_TOKENIZE_PLAIN, tokens, count - 1, &same, &error));
    REQUIRE(same == 99);
    EXPECT(SLM_OK, slm_tokenize(model, PROMPT, SLM_NUL, SLM_TOKENIZE_PLAIN, tokens, 16, &same, &error));
    REQUIRE(same == count);
    EXPECT(SLM_OK, slm_detokenize(model, tokens, count, SLM_SKIP_SPECIAL_TOKENS, &text, &error));
    REQUIRE(strlen(text.data) == text.len && strcmp(text.data, PROMPT) == 0);
    slm_string_free(&text);
    REQUIRE(text.data == NULL && text.len == 0);
    slm_string_free(&text);
    EXPECT(SLM_INVALID_UTF8, slm_count_tokens(model, "ab\xff", 3, SLM_TOKENIZE_PLAIN, &count, &error));
    EXPECT(SLM_INVALID_ARGUMENT, slm_count_tokens(model, "ab", 2, 9, &count, &error));
}

/* A model tells what it is, and what it will take before it is loaded. */
static void models_tell(const char *directory, const slm_model *model) {
    slm_string info = {NULL, 0};
    slm_estimate estimate;
    slm_sampling_options sampling;
    const slm_model *missing = NULL;
    EXPECT(SLM_OK, slm_model_info(model, &info, &error));
    REQUIRE(info.len > 2 && info.data[0] == '{');
    slm_string_free(&info);
    memset(&estimate, 0xff, sizeof estimate);
    EXPECT(SLM_OK, slm_model_estimate(directory, SLM_NUL, NULL, 100, &estimate, sizeof estimate, &error));
    REQUIRE(estimate.weights > 0 && estimate.cache > 0 && estimate.text > 0);
    REQUIRE(estimate.total == estimate.weights + estimate.cache + estimate.scratch + estimate.text);
    EXPECT(SLM_OK, slm_model_sampling(model, &sampling, sizeof sampling, &error));
    REQUIRE(sampling.struct_size == sizeof sampling && sampling.repetition_penalty > 0);
    EXPECT(SLM_NOT_FOUND, slm_model_load("/nowhere/model", SLM_NUL, NULL, &missing, &error));
    REQUIRE(missing == NULL);
}

/* Answers follow their grammar, also where they are cut short; bad sources are refused. */
static void grammars_hold(const slm_model *model) {
    static const char *const schema = "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\"}},"
                                      " \"required\": [\"a\"], \"additionalProperties\": false}";
    slm_str choices[] = {{"red", SLM_NUL}, {"green", 5}};
    const slm_grammar *grammar = NULL, *clone = NULL, *none = NULL;
    slm_generate_options options;
    slm_session *session = NULL;
    slm_stream *stream = NULL;
    answer result = {0};

    EXPECT(SLM_OK, slm_session_new(model, NULL, &session, &error));
    EXPECT(SLM_OK, slm_generate_options_init(&options, sizeof options, &error));
    EXPECT(SLM_OK, slm_grammar_choices(model, choices, 2, &grammar, &error));
    EXPECT(SLM_OK, slm_grammar_clone(grammar, &clone, &error));
    slm_grammar_free(grammar);
    options.grammar = clone;
    EXPECT(SLM_OK, slm_stream_new(session, PROMPT, SLM_NUL, &options, &stream, &error));
    /* The stream keeps what it needs. */
    slm_grammar_free(clone);
    pull(stream, &result);
    slm_stream_free(stream);
    REQUIRE(strcmp(result.text, "red") == 0 || strcmp(result.text, "green") == 0);
    REQUIRE(result.finish_reason == SLM_FINISH_GRAMMAR && result.completion == SLM_COMPLETION_COMPLETE);

    EXPECT(SLM_OK, slm_grammar_new(model, SLM_GRAMMAR_JSON_SCHEMA, schema, SLM_NUL, &grammar, &error));
    options.grammar = grammar;
    options.max_tokens = 24;
    memset(&result, 0, sizeof result);
    EXPECT(SLM_OK, slm_stream_new(session, PROMPT, SLM_NUL, &options, &stream, &error));
    pull(stream, &result);
    slm_stream_free(stream);
    REQUIRE(result.text[0] == '{' && result.text[result.length - 1] == '}' && strstr(result.text, "\"a\"") != NULL);
    REQUIRE(result.completion == SLM_COMPLETION_COMPLETE || result.completion == SLM_COMPLETION_SHORTENED);
    options.max_tokens = 1;
    EXPECT(SLM_INVALID_ARGUMENT, slm_stream_new(session, PROMPT, SLM_NUL, &options, &stream, &error));
    slm_grammar_free(grammar);

    EXPECT(SLM_OK, slm_grammar_new(model, SLM_GRAMMAR_REGEX, "[0-9]{3}", SLM_NUL, &grammar, &error));
    slm_grammar_free(grammar);
    EXPECT(SLM_OK, slm_grammar_new(model, SLM_GRAMMAR_LARK, "start: \"a\"+", SLM_NUL, &grammar, &error));
    slm_grammar_free(grammar);
    EXPECT(SLM_GRAMMAR, slm_grammar_new(model, SLM_GRAMMAR_JSON_SCHEMA, "{", 1, &none, &error));
    EXPECT(SLM_UNSUPPORTED, slm_grammar_new(model, SLM_GRAMMAR_JSON_SCHEMA, "{\"not\": {}}", SLM_NUL, &none, &error));
    EXPECT(SLM_INVALID_ARGUMENT, slm_grammar_new(model, 9, "a", 1, &none, &error));
    EXPECT(SLM_GRAMMAR, slm_grammar_choices(model, NULL, 0, &none, &error));
    EXPECT(SLM_NULL_POINTER, slm_grammar_new(model, SLM_GRAMMAR_REGEX, NULL, 1, &none, &error));
    REQUIRE(none == NULL);
    slm_grammar_free(NULL);
    slm_session_free(session);
}

/* What is extracted is JSON, and says of each value whether the text has it. */
static void extractions_are_checked(const slm_model *model) {
    static const char *const schema = "{\"type\": \"object\", \"properties\": {\"total\": {\"type\": \"number\"}}}";
    static const char *const receipt = "Total 12,50 EUR";
    slm_example examples[] = {{{"Total 3", SLM_NUL}, {"{\"total\": 3}", SLM_NUL}}};
    slm_example broken[] = {{{"Total 3", SLM_NUL}, {"{", SLM_NUL}}};
    const slm_extractor *extractor = NULL, *none = NULL;
    slm_generate_options options;
    slm_session *session = NULL;
    slm_string value = {NULL, 0}, fields = {NULL, 0};
    int32_t completion = 0;

    EXPECT(SLM_OK, slm_session_new(model, NULL, &session, &error));
    EXPECT(SLM_OK, slm_generate_options_init(&options, sizeof options, &error));
    options.max_tokens = 40;
    EXPECT(SLM_OK, slm_extractor_new(model, schema, SLM_NUL, "Find the total.", SLM_NUL, examples, 1, &extractor, &error));
    EXPECT(SLM_OK, slm_extract(session, extractor, receipt, SLM_NUL, &options, &value, &fields, &completion, &error));
    REQUIRE(strncmp(value.data, "{\"total\":", 9) == 0 && strlen(value.data) == value.len);
    REQUIRE(fields.data[0] == '[' && strstr(fields.data, "\"path\":\"/total\"") != NULL);
    REQUIRE(completion == SLM_COMPLETION_COMPLETE || completion == SLM_COMPLETION_SHORTENED);
    slm_string_free(&value);
    slm_string_free(&fields);
    EXPECT(SLM_OK, slm_extract(session, extractor, receipt, SLM_NUL, &options, &value, NULL, NULL, &error));
    slm_string_free(&value);
    options.max_tokens = 2;
    EXPECT(SLM_INVALID_ARGUMENT, slm_extract(session, extractor, receipt, SLM_NUL, &options, &value, &fields, &completion, &error));
    REQUIRE(value.data == NULL && fields.data == NULL);
    slm_extractor_free(extractor);
    EXPECT(SLM_INVALID_ARGUMENT, slm_extractor_new(model, "true", SLM_NUL, NULL, 0, NULL, 0, &none, &error));
    EXPECT(SLM_INVALID_ARGUMENT, slm_extractor_new(model, schema, SLM_NUL, NULL, 0, broken, 1, &none, &error));
    REQUIRE(none == NULL);
    slm_extractor_free(NULL);
    slm_session_free(session);
}

int main(int argc, char **argv) {
    const slm_model *model = NULL;
    if (argc < 2) return EXIT_FAILURE;
    REQUIRE(slm_abi_version() == SLM_ABI_VERSION);
    REQUIRE(strcmp(slm_version(), SLM_VERSION) == 0);
    EXPECT(SLM_OK, slm_model_load(argv[1], SLM_NUL, NULL, &model, &error));
    answers_agree(model);
    callbacks_decide(model);
    cancelling_ends(model);
    labels_are_scored(model);
    calibrations_decide(model);
    grammars_hold(model);
    extractions_are_checked(model);
    texts_round_trip(model);
    models_tell(argv[1], model);
    callbacks_read(argv[1], model);
    slm_model_free(model);
    owners_do_not_matter(argv[1]);
    puts("every promise holds");
    return EXIT_SUCCESS;
}
