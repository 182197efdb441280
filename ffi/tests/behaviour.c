/*
 * The list of behaviour cases that all languages share, through the C ABI: behaviour LIST MODELS_DIRECTORY.
 * The list describes its format. Prints the first case that differs, with what was expected and found, and exits with 1.
 */
#include <edgeslm.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_LINES 64
#define MOST_TOKENS 1024

/* How much a probability or the logarithm of one may differ. */
#define TOLERANCE 1e-6

typedef struct {
    const char *key;
    slm_str value;
} line;

typedef struct {
    line lines[MOST_LINES];
    size_t count;
} block;

/* Returns from the function with the status of a call that fails. */
#define TRY(call)                                                \
    do {                                                         \
        slm_status status_of_call = call;                        \
        if (status_of_call != SLM_OK) return status_of_call;     \
    } while (0)

static void require(int holds, const char *what) {
    if (!holds) {
        printf("behaviour.c: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

/* What a case says to do. */

/* The value of the `index`-th line with `key`; NULL if there are fewer. */
static const slm_str *nth(const block *given, const char *key, size_t index) {
    for (size_t i = 0; i < given->count; i++)
        if (strcmp(given->lines[i].key, key) == 0 && index-- == 0) return &given->lines[i].value;
    return NULL;
}

static int has(const block *given, const char *key) { return nth(given, key, 0) != NULL; }

static slm_str text_of(const block *given, const char *key, const char *otherwise) {
    const slm_str *value = nth(given, key, 0);
    return value != NULL ? *value : (slm_str){otherwise, strlen(otherwise)};
}

static uint64_t whole(const block *given, const char *key, uint64_t otherwise) {
    const slm_str *value = nth(given, key, 0);
    return value != NULL ? strtoull(value->data, NULL, 10) : otherwise;
}

static float real(const block *given, const char *key, float otherwise) {
    const slm_str *value = nth(given, key, 0);
    return value != NULL ? strtof(value->data, NULL) : otherwise;
}

static size_t count_of(const block *given, const char *key) {
    size_t count = 0;
    while (nth(given, key, count) != NULL) count++;
    return count;
}

/* The texts of all lines with `key`. */
static size_t texts(const block *given, const char *key, slm_str *list) {
    const size_t count = count_of(given, key);
    for (size_t i = 0; i < count; i++) list[i] = *nth(given, key, i);
    return count;
}

static size_t messages_of(const block *given, slm_message *list) {
    const size_t count = count_of(given, "message");
    for (size_t i = 0; i < count; i++) {
        const slm_str *value = nth(given, "message", i);
        const char *space = memchr(value->data, ' ', value->len);
        require(space != NULL, "a message has a role and a content");
        list[i].role = (slm_str){value->data, (size_t)(space - value->data)};
        list[i].content = (slm_str){space + 1, value->len - list[i].role.len - 1};
    }
    return count;
}

/* What a case gives. */

static block found;
static char pool[1 << 16];
static size_t pool_used;

static void forget(void) { found.count = 0, pool_used = 0; }

static void begin(const char *key) {
    require(found.count < MOST_LINES, "too many lines");
    found.lines[found.count] = (line){key, {pool + pool_used, 0}};
}

static void say_bytes(const char *data, size_t length) {
    require(length < sizeof pool - pool_used, "too much text");
    memcpy(pool + pool_used, data, length);
    pool_used += length;
}

static void say(const char *format, ...) {
    char words[64];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    require(length >= 0 && (size_t)length < sizeof words, "a long word");
    say_bytes(words, (size_t)length);
}

static void end(void) {
    line *last = &found.lines[found.count++];
    last->value.len = (size_t)(pool + pool_used - last->value.data);
    say_bytes("", 1);
}

static void say_ids(const char *key, const uint32_t *ids, size_t count) {
    begin(key);
    for (size_t i = 0; i < count; i++) say(i > 0 ? " %lu" : "%lu", (unsigned long)ids[i]);
    end();
}

static void say_reals(const char *key, const char *format, const float *reals, size_t count) {
    begin(key);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) say(" ");
        say(format, (double)reals[i]);
    }
    end();
}

static void say_text(const char *key, const char *data, size_t length) {
    begin(key);
    say_bytes(data, length);
    end();
}

/* Running a case. */

static const char *finish_name(int32_t reason) {
    switch (reason) {
    case SLM_FINISH_STOP_TOKEN: return "stop_token";
    case SLM_FINISH_STOP_STRING: return "stop_string";
    case SLM_FINISH_MAX_TOKENS: return "max_tokens";
    case SLM_FINISH_CONTEXT_LENGTH: return "context_length";
    case SLM_FINISH_GRAMMAR: return "grammar";
    default: return "other";
    }
}

static void say_completion(int32_t completion) {
    static const char *const names[] = {"none", "complete", "shortened", "cut", "expired"};
    require(completion >= 0 && completion < 5, "a completion that has a name");
    say_text("completion", names[completion], strlen(names[completion]));
}

static int has_grammar(const block *given) { return has(given, "grammar") || has(given, "choice"); }

/* Reads an answer to its end. */
static slm_status read_answer(const block *given, slm_stream *stream, slm_error **error) {
    static uint32_t tokens[MOST_TOKENS], top[MOST_TOKENS];
    static float log_probabilities[MOST_TOKENS];
    static char text[16 * MOST_TOKENS];
    size_t count = 0, length = 0;
    const slm_event *event = NULL;
    for (;;) {
        TRY(slm_stream_next(stream, &event, error));
        require(event != NULL, "an answer has an end");
        if (event->kind == SLM_EVENT_TOKEN) {
            require(count < MOST_TOKENS, "too many tokens");
            tokens[count] = event->token;
            top[count] = (uint32_t)event->top_count;
            log_probabilities[count++] = event->log_probability;
        } else if (event->kind == SLM_EVENT_TEXT) {
            require(event->text.len <= sizeof text - length, "too much text");
            memcpy(text + length, event->text.data, event->text.len);
            length += event->text.len;
        } else if (event->kind == SLM_EVENT_FINISHED) {
            break;
        }
    }
    const char *reason = finish_name(event->finish_reason);
    say_ids("tokens", tokens, count);
    say_text("text", text, length);
    say_text("finish", reason, strlen(reason));
    if (has_grammar(given)) say_completion(event->completion);
    if (has(given, "seed")) {
        begin("seed");
        say("%llu", (unsigned long long)event->seed);
        end();
    }
    if (has(given, "log_probabilities")) {
        say_ids("top", top, count);
        say_reals("log_probabilities", "%.7f", log_probabilities, count);
    }
    const slm_statistics *counts = event->statistics;
    begin("counts");
    say("%llu %llu %llu", (unsigned long long)counts->prompt_tokens, (unsigned long long)counts->reused_tokens,
        (unsigned long long)counts->generated_tokens);
    end();
    if (has(given, "draft_tokens")) {
        begin("drafts");
        say("%llu %llu", (unsigned long long)counts->drafted_tokens, (unsigned long long)counts->accepted_tokens);
        end();
    }
    TRY(slm_stream_next(stream, &event, error));
    require(event == NULL, "nothing follows the end");
    return SLM_OK;
}

/* The grammar of a case; NULL if it has none. */
static slm_status grammar_of(const block *given, const slm_model *model, const slm_grammar **grammar, slm_error **error) {
    slm_str choices[MOST_LINES];
    const slm_str source = text_of(given, "grammar", "");
    const char *space = memchr(source.data, ' ', source.len);
    *grammar = NULL;
    if (space != NULL) {
        const int32_t kind = source.data[0] == 's'   ? SLM_GRAMMAR_JSON_SCHEMA
                             : source.data[0] == 'r' ? SLM_GRAMMAR_REGEX
                                                   : SLM_GRAMMAR_LARK;
        const size_t length = source.len - (size_t)(space + 1 - source.data);
        return slm_grammar_new(model, kind, space + 1, length, grammar, error);
    }
    const size_t count = texts(given, "choice", choices);
    return has(given, "choice") ? slm_grammar_choices(model, choices, count, grammar, error) : SLM_OK;
}

/* Takes fields out of a text. */
static slm_status extract(const slm_model *model, slm_session *session, const block *given,
                          const slm_generate_options *options, slm_error **error) {
    const slm_str schema = text_of(given, "schema", ""), source = text_of(given, "source_text", "");
    const slm_extractor *extractor = NULL;
    slm_string value = {NULL, 0}, fields = {NULL, 0};
    int32_t completion = 0;
    TRY(slm_extractor_new(model, schema.data, schema.len, NULL, 0, NULL, 0, &extractor, error));
    const slm_status status =
        slm_extract(session, extractor, source.data, source.len, options, &value, &fields, &completion, error);
    slm_extractor_free(extractor);
    TRY(status);
    say_text("value", value.data, value.len);
    /* The paths and supports, which stand in the JSON in this order. */
    begin("support");
    const char *space = "";
    for (const char *at = fields.data; (at = strstr(at, "{\"path\":\"")) != NULL;) {
        const char *path = at + strlen("{\"path\":\""), *path_end = strchr(path, '"');
        const char *support = strstr(path_end, "\"support\":\"");
        require(support != NULL, "a field has a support");
        support += strlen("\"support\":\"");
        say("%s", space);
        say_bytes(path, (size_t)(path_end - path));
        say("=");
        say_bytes(support, (size_t)(strchr(support, '"') - support));
        space = " ";
        at = support;
    }
    end();
    say_completion(completion);
    slm_string_free(&value);
    slm_string_free(&fields);
    return SLM_OK;
}

static slm_status answer_with(const block *given, const slm_model *model, slm_session *session,
                              slm_generate_options *options, slm_error **error);

/* Answers the prompt, the messages, or the turns of a case, or takes fields out of its text. */
static slm_status generate(const block *given, const slm_model *model, slm_session *session, slm_error **error) {
    slm_generate_options options;
    slm_sampling_options sampling;
    slm_logit_bias biases[MOST_LINES];
    slm_str stop[MOST_LINES];
    uint32_t stop_tokens[MOST_LINES];
    const slm_grammar *grammar = NULL;
    TRY(slm_generate_options_init(&options, sizeof options, error));
    TRY(slm_sampling_options_init(&sampling, sizeof sampling, error));

    sampling.temperature = real(given, "temperature", sampling.temperature);
    sampling.top_k = (uint32_t)whole(given, "top_k", sampling.top_k);
    sampling.top_p = real(given, "top_p", sampling.top_p);
    sampling.min_p = real(given, "min_p", sampling.min_p);
    sampling.repetition_penalty = real(given, "repetition_penalty", sampling.repetition_penalty);
    sampling.frequency_penalty = real(given, "frequency_penalty", sampling.frequency_penalty);
    sampling.presence_penalty = real(given, "presence_penalty", sampling.presence_penalty);
    sampling.penalty_window = whole(given, "penalty_window", sampling.penalty_window);
    sampling.seed = whole(given, "seed", sampling.seed);
    sampling.logit_bias = biases;
    sampling.logit_bias_count = count_of(given, "bias");
    for (size_t i = 0; i < sampling.logit_bias_count; i++) {
        char *rest = NULL;
        biases[i].token = (uint32_t)strtoul(nth(given, "bias", i)->data, &rest, 10);
        biases[i].bias = strtof(rest, NULL);
    }

    options.sampling = &sampling;
    options.max_tokens = (uint32_t)whole(given, "max_tokens", options.max_tokens);
    options.flags = has(given, "ignore_stop_tokens") ? SLM_IGNORE_STOP_TOKENS : 0;
    options.log_probabilities = has(given, "log_probabilities") ? (int32_t)whole(given, "log_probabilities", 0) : -1;
    options.draft_tokens = whole(given, "draft_tokens", 0);
    options.stop = stop;
    options.stop_count = texts(given, "stop", stop);
    options.stop_tokens = stop_tokens;
    options.stop_token_count = count_of(given, "stop_token");
    for (size_t i = 0; i < options.stop_token_count; i++)
        stop_tokens[i] = (uint32_t)strtoul(nth(given, "stop_token", i)->data, NULL, 10);

    TRY(grammar_of(given, model, &grammar, error));
    options.grammar = grammar;
    const slm_status status = answer_with(given, model, session, &options, error);
    slm_grammar_free(grammar);
    return status;
}

static slm_status answer_with(const block *given, const slm_model *model, slm_session *session,
                              slm_generate_options *options, slm_error **error) {
    slm_message messages[MOST_LINES];
    const slm_str what = text_of(given, "do", "");
    if (strcmp(what.data, "extract") == 0) return extract(model, session, given, options, error);
    const size_t answers = strcmp(what.data, "turns") == 0 ? count_of(given, "turn") : 1;
    for (size_t i = 0; i < answers; i++) {
        slm_stream *stream = NULL;
        if (strcmp(what.data, "generate") == 0) {
            const slm_str prompt = text_of(given, "prompt", "");
            TRY(slm_stream_new(session, prompt.data, prompt.len, options, &stream, error));
        } else if (strcmp(what.data, "chat") == 0) {
            const size_t count = messages_of(given, messages);
            TRY(slm_chat_stream(session, messages, count, options, &stream, error));
        } else {
            const slm_str *turn = nth(given, "turn", i);
            TRY(slm_turn_stream(session, turn->data, turn->len, options, &stream, error));
        }
        const slm_status status = read_answer(given, stream, error);
        slm_stream_free(stream);
        TRY(status);
    }
    return SLM_OK;
}

static slm_status classify(const block *given, slm_session *session, slm_error **error) {
    slm_classify_options options;
    slm_message messages[MOST_LINES];
    slm_str labels[MOST_LINES];
    float probabilities[MOST_LINES];
    size_t best = 0;
    const size_t label_count = texts(given, "label", labels);
    TRY(slm_classify_options_init(&options, sizeof options, error));
    if (strcmp(text_of(given, "score", "joint").data, "trie_normalised") == 0) options.score = SLM_SCORE_TRIE_NORMALISED;
    if (has(given, "prompt")) {
        const slm_str prompt = text_of(given, "prompt", "");
        TRY(slm_classify(session, prompt.data, prompt.len, labels, label_count, &options, probabilities, &best, error));
    } else {
        const size_t count = messages_of(given, messages);
        TRY(slm_chat_classify(session, messages, count, labels, label_count, &options, probabilities, &best, error));
    }
    begin("index");
    say("%lu", (unsigned long)best);
    end();
    say_reals("probabilities", "%.8f", probabilities, label_count);
    return SLM_OK;
}

static slm_status with_session(const block *given, const slm_model *model, slm_error **error) {
    slm_session_options options;
    slm_session *session = NULL;
    TRY(slm_session_options_init(&options, sizeof options, error));
    options.context = whole(given, "context", options.context);
    options.prefill_chunk = (uint32_t)whole(given, "prefill_chunk", options.prefill_chunk);
    options.system = text_of(given, "system", "");
    TRY(slm_session_new(model, &options, &session, error));
    const int is_classify = strcmp(text_of(given, "do", "").data, "classify") == 0;
    const slm_status status = is_classify ? classify(given, session, error) : generate(given, model, session, error);
    slm_session_free(session);
    return status;
}

static slm_status tokenize(const block *given, const slm_model *model, slm_error **error) {
    static uint32_t tokens[MOST_TOKENS];
    const slm_str text = text_of(given, "text", ""), mode_name = text_of(given, "mode", "prompt");
    const int32_t mode = strcmp(mode_name.data, "plain") == 0          ? SLM_TOKENIZE_PLAIN
                         : strcmp(mode_name.data, "continuation") == 0 ? SLM_TOKENIZE_CONTINUATION
                                                                       : SLM_TOKENIZE_PROMPT;
    size_t count = 0;
    if (strcmp(text_of(given, "do", "").data, "count") == 0) {
        TRY(slm_count_tokens(model, text.data, text.len, mode, &count, error));
        begin("count");
        say("%lu", (unsigned long)count);
        end();
    } else {
        TRY(slm_tokenize(model, text.data, text.len, mode, tokens, MOST_TOKENS, &count, error));
        say_ids("tokens", tokens, count);
    }
    return SLM_OK;
}

/* Reads the numbers of a key into `numbers`, which has room for MOST_TOKENS, and returns how many. */
static size_t numbers_of(const block *given, const char *key, uint32_t *numbers) {
    size_t count = 0;
    char *rest = NULL;
    for (const char *word = text_of(given, key, "").data; *word != '\0' && count < MOST_TOKENS; word = rest)
        numbers[count++] = (uint32_t)strtoul(word, &rest, 10);
    return count;
}

static slm_status detokenize(const block *given, const slm_model *model, slm_error **error) {
    static uint32_t ids[MOST_TOKENS];
    slm_string text = {NULL, 0};
    const size_t count = numbers_of(given, "ids", ids);
    const uint32_t flags = has(given, "skip_special_tokens") ? SLM_SKIP_SPECIAL_TOKENS : 0;
    TRY(slm_detokenize(model, ids, count, flags, &text, error));
    say_text("text", text.data, text.len);
    slm_string_free(&text);
    return SLM_OK;
}

static slm_status render(const block *given, const slm_model *model, slm_error **error) {
    slm_message messages[MOST_LINES];
    slm_string text = {NULL, 0};
    const size_t count = messages_of(given, messages);
    TRY(slm_render_chat(model, messages, count, NULL, 0, &text, error));
    say_text("text", text.data, text.len);
    slm_string_free(&text);
    return SLM_OK;
}

/* The files of a directory, but one. */
typedef struct {
    const char *directory;
    const char *missing;
} pack;

static FILE *open_file(const pack *files, slm_str name) {
    char path[4096];
    const int length = snprintf(path, sizeof path, "%s/%s", files->directory, name.data);
    require(length > 0 && (size_t)length < sizeof path, "a long path");
    return strcmp(name.data, files->missing) == 0 ? NULL : fopen(path, "rb");
}

static slm_status size_of_file(void *user_data, slm_str name, uint64_t *size) {
    FILE *file = open_file(user_data, name);
    if (file == NULL) return SLM_NOT_FOUND;
    require(fseek(file, 0, SEEK_END) == 0, "a file's end");
    *size = (uint64_t)ftell(file);
    fclose(file);
    return SLM_OK;
}

static int64_t read_part_of_file(void *user_data, slm_str name, uint64_t offset, void *buffer, size_t length) {
    FILE *file = open_file(user_data, name);
    if (file == NULL || fseek(file, (long)offset, SEEK_SET) != 0) return -1;
    const size_t count = fread(buffer, 1, length, file);
    fclose(file);
    return (int64_t)count;
}

static slm_status run(const block *given, const char *models, slm_error **error) {
    static uint32_t processors[MOST_TOKENS];
    slm_model_options options;
    const slm_model *model = NULL;
    char directory[4096];
    const char *what = text_of(given, "do", "").data;
    const int length = snprintf(directory, sizeof directory, "%s/%s", models, text_of(given, "model", "").data);
    require(length > 0 && (size_t)length < sizeof directory, "a long path");
    TRY(slm_model_options_init(&options, sizeof options, error));
    const char *accuracy = text_of(given, "accuracy", "").data;
    options.accuracy = strcmp(accuracy, "strict") == 0    ? SLM_ACCURACY_STRICT
                       : strcmp(accuracy, "precise") == 0 ? SLM_ACCURACY_PRECISE
                                                          : SLM_ACCURACY_DEFAULT;
    options.kv_precision = strcmp(text_of(given, "kv_precision", "auto").data, "int8") == 0 ? SLM_KV_INT8 : SLM_KV_AUTO;
    options.load = has(given, "copy") ? SLM_LOAD_COPY : SLM_LOAD_MAP;
    options.threads = (uint32_t)whole(given, "threads", options.threads);
    options.processors = has(given, "processors") ? processors : NULL;
    options.processor_count = (uint32_t)numbers_of(given, "processors", processors);
    options.priority = has(given, "low_priority") ? SLM_PRIORITY_LOW : SLM_PRIORITY_NORMAL;
    options.context_length = (uint32_t)whole(given, "context_length", options.context_length);
    options.memory_budget = whole(given, "memory_budget", options.memory_budget);
    options.kernels = text_of(given, "kernels", "");
    if (has(given, "source")) {
        pack files = {directory, text_of(given, "missing", "").data};
        slm_source source;
        TRY(slm_source_init(&source, sizeof source, error));
        source.user_data = &files;
        source.size = size_of_file;
        source.read = read_part_of_file;
        TRY(slm_model_load_from(&source, &options, &model, error));
    } else {
        TRY(slm_model_load(directory, SLM_NUL, &options, &model, error));
    }
    slm_status (*const work)(const block *, const slm_model *, slm_error **) =
        strcmp(what, "tokenize") == 0 || strcmp(what, "count") == 0 ? tokenize
        : strcmp(what, "detokenize") == 0                           ? detokenize
        : strcmp(what, "render") == 0                               ? render
                                                                    : with_session;
    const slm_status status = work(given, model, error);
    slm_model_free(model);
    return status;
}

/* Comparing. */

static int near(const char *a, const char *b) {
    while (*a != '\0' && *b != '\0') {
        char *after_a = NULL, *after_b = NULL;
        if (!(fabs(strtod(a, &after_a) - strtod(b, &after_b)) <= TOLERANCE) || after_a == a || after_b == b) return 0;
        a = after_a, b = after_b;
    }
    return *a == *b;
}

static int same(const line *a, const line *b) {
    if (strcmp(a->key, b->key) != 0) return 0;
    if (a->value.len == b->value.len && memcmp(a->value.data, b->value.data, a->value.len) == 0) return 1;
    return strstr(a->key, "probabilities") != NULL && near(a->value.data, b->value.data);
}

static void show(const char *title, const block *lines) {
    printf("%s\n", title);
    for (size_t i = 0; i < lines->count; i++) {
        printf("= %s ", lines->lines[i].key);
        fwrite(lines->lines[i].value.data, 1, lines->lines[i].value.len, stdout);
        putchar('\n');
    }
}

static void check(const char *name, const block *given, const block *expected, const char *models) {
    slm_error *error = NULL;
    forget();
    const slm_status status = run(given, models, &error);
    if (status != SLM_OK) {
        forget();
        say_text("status", slm_status_name(status), strlen(slm_status_name(status)));
    }
    int equal = found.count == expected->count;
    for (size_t i = 0; equal && i < found.count; i++) equal = same(&found.lines[i], &expected->lines[i]);
    if (!equal) {
        printf("%s: %s\n", name, slm_error_message(error).data);
        show("expected", expected);
        show("found", &found);
        exit(EXIT_FAILURE);
    }
    slm_error_free(error);
}

/* Reading the list. */

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    require(file != NULL && fseek(file, 0, SEEK_END) == 0, path);
    const long size = ftell(file);
    require(size > 0 && fseek(file, 0, SEEK_SET) == 0, path);
    char *text = malloc((size_t)size + 1);
    require(text != NULL && fread(text, 1, (size_t)size, file) == (size_t)size, path);
    text[size] = '\0';
    fclose(file);
    return text;
}

/* Replaces the escapes of a value where it stands. */
static slm_str unescape(char *value) {
    char *to = value;
    for (const char *from = value; *from != '\0';) {
        if (*from != '\\') {
            *to++ = *from++;
        } else if (from[1] == 'x') {
            const char digits[3] = {from[2], from[2] != '\0' ? from[3] : '\0', '\0'};
            *to++ = (char)strtoul(digits, NULL, 16);
            from += 4;
        } else {
            require(from[1] == 'n' || from[1] == 't' || from[1] == '\\', "an unknown escape");
            *to++ = from[1] == 'n' ? '\n' : from[1] == 't' ? '\t' : '\\';
            from += 2;
        }
    }
    *to = '\0';
    return (slm_str){value, (size_t)(to - value)};
}

int main(int argc, char **argv) {
    require(argc == 3, "usage: behaviour LIST MODELS_DIRECTORY");
    char *text = read_file(argv[1]);
    const char *name = NULL;
    block given = {.count = 0}, expected = {.count = 0};
    size_t cases = 0;
    for (char *next = text; next != NULL;) {
        char *key = next;
        if ((next = strchr(key, '\n')) != NULL) *next++ = '\0';
        key[strcspn(key, "\r")] = '\0';
        if (*key == '#') continue;
        block *to = &given;
        if (key[0] == '=' && key[1] == ' ') to = &expected, key += 2;
        char *space = strchr(key, ' ');
        if (space != NULL) *space = '\0';
        const slm_str value = space != NULL ? unescape(space + 1) : (slm_str){"", 0};
        if (strcmp(key, "case") == 0) {
            name = value.data;
        } else if (*key != '\0') {
            require(name != NULL && to->count < MOST_LINES, "a line outside a case, or too many");
            to->lines[to->count++] = (line){key, value};
        }
        if (name != NULL && (*key == '\0' || next == NULL)) {
            check(name, &given, &expected, argv[2]);
            given.count = expected.count = 0;
            name = NULL;
            cases++;
        }
    }
    printf("%lu cases, 0 skipped\n", (unsigned long)cases);
    free(text);
    return EXIT_SUCCESS;
}
