/* A model in ONNX Runtime through the C ABI, and what is told when it cannot be had.
 * Arguments: the model directory and the absolute path of ONNX Runtime's shared library. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgeslm.h"

#define REQUIRE(condition)                                                                      \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                     \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

static slm_str text(const char *value) {
    slm_str string = {value, strlen(value)};
    return string;
}

static int contains(slm_str string, const char *part) { return strstr(string.data, part) != NULL; }

static slm_model_options defaults(void) {
    slm_model_options options;
    REQUIRE(slm_model_options_init(&options, sizeof options, NULL) == SLM_OK);
    REQUIRE(options.engine == SLM_ENGINE_CPU && options.provider == SLM_PROVIDER_AUTO);
    return options;
}

/* Loading fails with `status` and an error that has a part of `message`. */
static void refused(const char *directory, const slm_model_options *options, slm_status status, const char *message) {
    const slm_model *model = NULL;
    slm_error *error = NULL;
    REQUIRE(slm_model_load(directory, SLM_NUL, options, &model, &error) == status);
    REQUIRE(model == NULL && error != NULL);
    if (!contains(slm_error_message(error), message) && !contains(slm_error_hint(error), message)) {
        fprintf(stderr, "%s (%s)\n", slm_error_message(error).data, slm_error_hint(error).data);
        exit(1);
    }
    slm_error_free(error);
}

int main(int count, char **arguments) {
    REQUIRE(count == 3);
    const char *directory = arguments[1];
    slm_model_options options = defaults();
    options.engine = SLM_ENGINE_ORT;
    options.ort_library = text(directory);
    refused(directory, &options, SLM_ENGINE_UNAVAILABLE, "not a file");
    REQUIRE(strcmp(slm_status_name(SLM_ENGINE_UNAVAILABLE), "engine_unavailable") == 0);
    options.engine = SLM_ENGINE_CPU;
    refused(directory, &options, SLM_INVALID_ARGUMENT, "SLM_ENGINE_ORT");

    options.engine = SLM_ENGINE_ORT;
    options.ort_library = text(arguments[2]);
    options.provider = SLM_PROVIDER_CUDA;
    refused(directory, &options, SLM_ENGINE_UNAVAILABLE, "does not have the provider cuda");
    options.provider = SLM_PROVIDER_CPU;
    slm_option unknown = {text("device"), text("1")}, arena = {text("use_arena"), text("1")};
    options.provider_options = &unknown;
    options.provider_option_count = 1;
    refused(directory, &options, SLM_INVALID_ARGUMENT, "use_arena");
    options.provider_options = &arena;

    const slm_model *model = NULL;
    slm_error *error = NULL;
    REQUIRE(slm_model_load(directory, SLM_NUL, &options, &model, &error) == SLM_OK);
    slm_string info;
    REQUIRE(slm_model_info(model, &info, &error) == SLM_OK);
    REQUIRE(strstr(info.data, "\"provider\":\"cpu\"") && strstr(info.data, "\"GroupQueryAttention\""));
    slm_string_free(&info);
    slm_string devices;
    REQUIRE(slm_ort_devices(&options, &devices, &error) == SLM_OK);
    REQUIRE(strstr(devices.data, "\"kind\":\"cpu\""));
    slm_string_free(&devices);

    slm_session *session = NULL;
    REQUIRE(slm_session_new(model, NULL, &session, &error) == SLM_OK);
    slm_generate_options generate;
    REQUIRE(slm_generate_options_init(&generate, sizeof generate, &error) == SLM_OK);
    generate.max_tokens = 4;
    slm_stream *stream = NULL;
    REQUIRE(slm_stream_new(session, "The pump is", SLM_NUL, &generate, &stream, &error) == SLM_OK);
    const slm_event *event = NULL;
    int tokens = 0;
    while (slm_stream_next(stream, &event, &error) == SLM_OK && event != NULL) tokens += event->kind == SLM_EVENT_TOKEN;
    REQUIRE(error == NULL && tokens > 0 && tokens <= 4);
    slm_stream_free(stream);
    slm_session_free(session);
    slm_model_free(model);
    puts("a model in ONNX Runtime answers");
    return 0;
}
