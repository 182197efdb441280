/* Prints the beginning of an answer of the model in a directory. */
#include <edgeslm.h>
#include <stdio.h>

int main(int argc, char **argv) {
    const slm_model *model = NULL;
    slm_session *session = NULL;
    slm_stream *stream = NULL;
    slm_error *error = NULL;
    const slm_event *event = NULL;
    slm_generate_options options;
    const char *question = "Is the door open?";
    int failed = argc < 2 || slm_abi_version() != SLM_ABI_VERSION;
    if (!failed && slm_generate_options_init(&options, sizeof options, &error) == SLM_OK) {
        options.max_tokens = 8;
        options.flags = SLM_IGNORE_STOP_TOKENS;
        if (slm_model_load(argv[1], SLM_NUL, NULL, &model, &error) == SLM_OK &&
            slm_session_new(model, NULL, &session, &error) == SLM_OK &&
            slm_turn_stream(session, question, SLM_NUL, &options, &stream, &error) == SLM_OK)
            while (slm_stream_next(stream, &event, &error) == SLM_OK && event != NULL) printf("%s", event->text.data);
    }
    failed = failed || error != NULL;
    if (error != NULL) fprintf(stderr, "%s\n", slm_error_message(error).data);
    slm_stream_free(stream);
    slm_session_free(session);
    slm_model_free(model);
    slm_error_free(error);
    return failed;
}
