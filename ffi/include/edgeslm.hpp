/*
 * edgeslm for C++17: the C ABI of edgeslm.h as move-only classes. Header only; link with libedgeslm.
 *
 *     #include <edgeslm.hpp>
 *     #include <iostream>
 *
 *     int main(int argc, char **argv) {
 *         auto model = edgeslm::Model::load(argc > 1 ? argv[1] : ".");
 *         auto session = model.session();
 *         for (std::string_view text : session.turn("Is the door open?")) std::cout << text << std::flush;
 *     }
 *
 * Every failure is an edgeslm::Error. What is said in edgeslm.h of threads holds here too: a Model, a Cancel, a Grammar and an Extractor may be used
 * by several threads at once, a Session and a Stream by one at a time. Destruction may come in any order.
 */

#ifndef EDGESLM_HPP
#define EDGESLM_HPP

#include <edgeslm.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgeslm {

namespace detail {

struct Deleter {
    void operator()(slm_error *error) const noexcept { slm_error_free(error); }
    void operator()(const slm_model *model) const noexcept { slm_model_free(model); }
    void operator()(slm_session *session) const noexcept { slm_session_free(session); }
    void operator()(slm_stream *stream) const noexcept { slm_stream_free(stream); }
    void operator()(const slm_cancel *cancel) const noexcept { slm_cancel_free(cancel); }
    void operator()(const slm_calibration *calibration) const noexcept { slm_calibration_free(calibration); }
    void operator()(const slm_grammar *grammar) const noexcept { slm_grammar_free(grammar); }
    void operator()(const slm_extractor *extractor) const noexcept { slm_extractor_free(extractor); }
};

template <typename Handle> using Owned = std::unique_ptr<Handle, Deleter>;

inline std::string_view view(slm_str text) noexcept { return {text.data, text.len}; }

// An empty view may have no address.
inline slm_str text(std::string_view view) noexcept { return {view.empty() ? "" : view.data(), view.size()}; }

} // namespace detail

/// Why a call failed: the parts of a slm_error.
class Error : public std::exception {
  public:
    /// Takes the parts of `error`, which stays the caller's; NULL is allowed.
    Error(slm_status status, const slm_error *error)
        : status_(status), message_(detail::view(slm_error_message(error))), file_(detail::view(slm_error_file(error))),
          place_(detail::view(slm_error_place(error))), hint_(detail::view(slm_error_hint(error))) {
        if (!file_.empty()) what_ += file_ + ": ";
        if (!place_.empty()) what_ += place_ + ": ";
        what_ += message_.empty() ? std::string(slm_status_name(status)) : message_;
        if (!hint_.empty()) what_ += " (" + hint_ + ")";
    }

    /// File, place, message and hint in one line.
    const char *what() const noexcept override { return what_.c_str(); }
    /// One of `SLM_...`; treat one that you do not know as a general failure.
    slm_status status() const noexcept { return status_; }
    /// What happened.
    const std::string &message() const noexcept { return message_; }
    /// The file in which the error is; may be empty.
    const std::string &file() const noexcept { return file_; }
    /// The graph node, tensor or other place in the file; may be empty.
    const std::string &place() const noexcept { return place_; }
    /// What can be done about it; may be empty.
    const std::string &hint() const noexcept { return hint_; }

  private:
    slm_status status_;
    std::string message_, file_, place_, hint_, what_;
};

namespace detail {

/// Calls a fallible function with a place for its error and throws what it stores there.
template <typename Function> void check(Function &&function) {
    slm_error *error = nullptr;
    const slm_status status = function(&error);
    if (status != SLM_OK) {
        const Owned<slm_error> owned(error);
        throw Error(status, error);
    }
}

/// Calls a function that gives an owned text.
template <typename Function> std::string take(Function &&function) {
    slm_string owned{nullptr, 0};
    check([&](slm_error **error) { return function(&owned, error); });
    struct Guard {
        slm_string *owned;
        ~Guard() { slm_string_free(owned); }
    } guard{&owned};
    return std::string(owned.data, owned.len);
}

/// Calls a function that gives an owned text or fails, and stores its status.
template <typename Function> std::string take_or(slm_status &status, Function &&function) {
    slm_string owned{nullptr, 0};
    status = function(&owned);
    struct Guard {
        slm_string *owned;
        ~Guard() { slm_string_free(owned); }
    } guard{&owned};
    return status == SLM_OK ? std::string(owned.data, owned.len) : std::string();
}

/// Calls an `_init` function.
template <typename Options> Options defaults(slm_status (*init)(Options *, size_t, slm_error **)) {
    Options options;
    check([&](slm_error **error) { return init(&options, sizeof options, error); });
    return options;
}

inline uint64_t milliseconds(std::optional<std::chrono::milliseconds> deadline) {
    // 0 would mean no limit.
    return deadline ? static_cast<uint64_t>(deadline->count() > 0 ? deadline->count() : 1) : 0;
}

} // namespace detail

/// The library's version, such as `0.1.0`.
inline std::string_view version() noexcept { return slm_version(); }

/// What the library is and can do on this machine, as a JSON object.
inline std::string_view build_info() noexcept { return slm_build_info(); }

/// A flag that stops answers from another thread. Copies share it.
class Cancel {
  public:
    Cancel() {
        const slm_cancel *cancel = nullptr;
        detail::check([&](slm_error **error) { return slm_cancel_new(&cancel, error); });
        handle_ = std::shared_ptr<const slm_cancel>(cancel, detail::Deleter{});
    }
    /// Stops the answers that were given the flag. May be called from any thread.
    void signal() const noexcept { slm_cancel_signal(handle_.get()); }
    /// Clears the flag, for the next answer.
    void reset() const noexcept { slm_cancel_reset(handle_.get()); }
    /// The handle in C, valid as long as a copy lives.
    const slm_cancel *handle() const noexcept { return handle_.get(); }

  private:
    std::shared_ptr<const slm_cancel> handle_;
};

/// What answers may look like; made by a Model. Copies share it.
class Grammar {
  public:
    /// The handle in C, valid as long as a copy lives.
    const slm_grammar *handle() const noexcept { return handle_.get(); }

  private:
    friend class Model;
    explicit Grammar(const slm_grammar *handle) : handle_(handle, detail::Deleter{}) {}

    std::shared_ptr<const slm_grammar> handle_;
};

/// Which fields are wanted of a text; made by a Model. Copies share it.
class Extractor {
  public:
    /// The handle in C, valid as long as a copy lives.
    const slm_extractor *handle() const noexcept { return handle_.get(); }

  private:
    friend class Model;
    explicit Extractor(const slm_extractor *handle) : handle_(handle, detail::Deleter{}) {}

    std::shared_ptr<const slm_extractor> handle_;
};

/// What runs a model; see SLM_ENGINE_....
enum class Engine : int32_t { cpu = SLM_ENGINE_CPU, ort = SLM_ENGINE_ORT };

/// ONNX Runtime's execution providers; see SLM_PROVIDER_....
enum class Provider : int32_t {
    automatic = SLM_PROVIDER_AUTO,
    cpu = SLM_PROVIDER_CPU,
    cuda = SLM_PROVIDER_CUDA,
    tensorrt = SLM_PROVIDER_TENSORRT,
    tensorrt_rtx = SLM_PROVIDER_TENSORRT_RTX,
    directml = SLM_PROVIDER_DIRECTML,
    coreml = SLM_PROVIDER_COREML,
    openvino = SLM_PROVIDER_OPENVINO,
    qnn = SLM_PROVIDER_QNN,
    webgpu = SLM_PROVIDER_WEBGPU,
    xnnpack = SLM_PROVIDER_XNNPACK,
};

/// How exact the arithmetic is.
enum class Accuracy : int32_t {
    /// Activations quantised to 8 bits.
    usual = SLM_ACCURACY_DEFAULT,
    /// Activations in two planes of 8 bits.
    precise = SLM_ACCURACY_PRECISE,
    /// fp32 arithmetic in a fixed order.
    strict = SLM_ACCURACY_STRICT,
};

/// How urgent the engine's own threads are beside the other threads of the machine.
enum class ThreadPriority : int32_t {
    normal = SLM_PRIORITY_NORMAL,
    low = SLM_PRIORITY_LOW,
    high = SLM_PRIORITY_HIGH,
};

/// In which numbers the CPU engine keeps keys and values.
enum class KvPrecision : int32_t {
    automatic = SLM_KV_AUTO,
    int8 = SLM_KV_INT8,
};

/// How models are loaded; see slm_model_options.
struct LoadOptions {
    /// Reads the files into memory instead of mapping them.
    bool copy = false;
    /// How exact the arithmetic is.
    Accuracy accuracy = Accuracy::usual;
    /// In which numbers the CPU engine keeps keys and values.
    KvPrecision kv_precision = KvPrecision::automatic;
    /// Follows links that lead out of the directory.
    bool follow_links = false;
    /// Threads, the caller's included; 0 for as many as the process may use, or as `processors` has.
    uint32_t threads = 0;
    /// The processors that the engine's own threads may run on; nothing for those of the thread that loads the model, while an empty
    /// list is an error. On Windows they are 0 to 63 of one processor group, and nothing means the processors of the process. The
    /// caller's thread stays where it is.
    std::optional<std::vector<uint32_t>> processors;
    /// How urgent the engine's own threads are. On Windows normal priority is the process's.
    ThreadPriority priority = ThreadPriority::normal;
    /// The most positions of a session; 0 for the model's own.
    uint32_t context_length = 0;
    /// The most bytes of all KV caches; 0 for three quarters of what is free.
    uint64_t memory_budget = 0;
    /// Which graph of the directory; empty to choose by looking.
    std::string graph;
    /// The kernel row; empty for the best.
    std::string kernels;
    /// What runs the model. What comes after is for ONNX Runtime alone.
    Engine engine = Engine::cpu;
    /// The execution provider.
    Provider provider = Provider::automatic;
    /// The absolute path of ONNX Runtime's shared library; empty to look for it.
    std::string ort_library;
    /// The absolute path of a plug-in provider's library; empty to look beside ONNX Runtime.
    std::string provider_library;
    /// Options of the provider, by ONNX Runtime's names.
    std::vector<std::pair<std::string, std::string>> provider_options;

    /// The options in C, valid as long as these and as `pairs`, which it fills.
    slm_model_options to_c(std::vector<slm_option> &pairs) const {
        auto options = detail::defaults(slm_model_options_init);
        options.load = copy ? SLM_LOAD_COPY : SLM_LOAD_MAP;
        options.accuracy = static_cast<int32_t>(accuracy);
        options.kv_precision = static_cast<int32_t>(kv_precision);
        options.flags = follow_links ? SLM_FOLLOW_LINKS : 0;
        options.threads = threads;
        if (processors) {
            // An empty vector may have no data, and without a pointer there would be no list.
            static constexpr uint32_t nowhere = 0;
            options.processors = processors->empty() ? &nowhere : processors->data();
            options.processor_count = static_cast<uint32_t>(processors->size());
        }
        options.priority = static_cast<int32_t>(priority);
        options.context_length = context_length;
        options.memory_budget = memory_budget;
        options.graph = detail::text(graph);
        options.kernels = detail::text(kernels);
        options.engine = static_cast<int32_t>(engine);
        options.provider = static_cast<int32_t>(provider);
        options.ort_library = detail::text(ort_library);
        options.provider_library = detail::text(provider_library);
        pairs.clear();
        for (const auto &[key, value] : provider_options)
            pairs.push_back({detail::text(key), detail::text(value)});
        options.provider_options = pairs.data();
        options.provider_option_count = pairs.size();
        return options;
    }
};

/// The files of a model, read by the program itself; see slm_source for their names.
class Source {
  public:
    virtual ~Source() = default;
    /// How many bytes the file has; nothing where there is no such file.
    virtual std::optional<uint64_t> size(std::string_view name) = 0;
    /// Reads at most `length` bytes of the file from `offset` on into `buffer`, and returns how many: 0 where the file ends.
    virtual size_t read(std::string_view name, uint64_t offset, void *buffer, size_t length) = 0;
};

namespace detail {

/// The callbacks of a source. No exception may pass through C, so the first is kept.
struct Reader {
    Source &source;
    std::exception_ptr thrown;

    static slm_status size(void *user_data, slm_str name, uint64_t *size) noexcept {
        Reader &reader = *static_cast<Reader *>(user_data);
        try {
            const std::optional<uint64_t> found = reader.source.size(view(name));
            if (!found) return SLM_NOT_FOUND;
            *size = *found;
            return SLM_OK;
        } catch (...) {
            reader.thrown = std::current_exception();
            return SLM_IO;
        }
    }

    static int64_t read(void *user_data, slm_str name, uint64_t offset, void *buffer, size_t length) noexcept {
        Reader &reader = *static_cast<Reader *>(user_data);
        try {
            return static_cast<int64_t>(reader.source.read(view(name), offset, buffer, length));
        } catch (...) {
            reader.thrown = std::current_exception();
            return -1;
        }
    }
};

} // namespace detail

/// How the next token is chosen; see slm_sampling_options. The default is greedy.
struct Sampling {
    float temperature = 0.0f;
    float top_p = 1.0f;
    float min_p = 0.0f;
    float repetition_penalty = 1.0f;
    float frequency_penalty = 0.0f;
    float presence_penalty = 0.0f;
    uint32_t top_k = 0;
    uint64_t penalty_window = 64;
    /// 0 for a random seed.
    uint64_t seed = 0;
    std::vector<slm_logit_bias> logit_bias;

    /// The options in C, valid as long as these.
    slm_sampling_options to_c() const {
        auto options = detail::defaults(slm_sampling_options_init);
        options.temperature = temperature;
        options.top_p = top_p;
        options.min_p = min_p;
        options.repetition_penalty = repetition_penalty;
        options.frequency_penalty = frequency_penalty;
        options.presence_penalty = presence_penalty;
        options.top_k = top_k;
        options.penalty_window = penalty_window;
        options.seed = seed;
        options.logit_bias = logit_bias.data();
        options.logit_bias_count = logit_bias.size();
        return options;
    }
};

/// Options of one answer; see slm_generate_options.
struct GenerateOptions {
    uint32_t max_tokens = 1024;
    /// Texts that end the answer and are not part of it.
    std::vector<std::string> stop;
    std::vector<uint32_t> stop_tokens;
    bool ignore_stop_tokens = false;
    /// Of how many most probable tokens log-probabilities are reported, besides the chosen one's.
    std::optional<int32_t> log_probabilities;
    std::optional<std::chrono::milliseconds> deadline;
    std::optional<Cancel> cancel;
    /// In place of the session's choice.
    std::optional<Sampling> sampling;
    /// What the answer has to look like.
    std::optional<Grammar> grammar;
    /// The most tokens that are guessed at a time; the answer is the same. 0 for none.
    uint64_t draft_tokens = 0;
};

/// Options of a session; see slm_session_options.
struct SessionOptions {
    uint32_t prefill_chunk = 512;
    /// The most tokens of prompt and answer together; 0 for the model's context.
    uint64_t context = 0;
    std::optional<Sampling> sampling;
    /// The system message with which the conversation begins.
    std::string system;
    /// A JSON object for the chat template.
    std::string template_options;
};

/// Options of a classification; see slm_classify_options.
struct ClassifyOptions {
    int32_t score = SLM_SCORE_JOINT;
    std::optional<std::chrono::milliseconds> deadline;
    std::optional<Cancel> cancel;
};

/// One message of a conversation.
struct Message {
    std::string role;
    std::string content;
};

/// A class with its calibrated probability, and whether to rely on it.
struct Decision {
    /// The index of the most probable class.
    size_t index = 0;
    /// Its name.
    std::string label;
    /// Its probability.
    float probability = 0.0f;
    /// The class is too improbable for the risk that was accepted: a person or a larger model should decide.
    bool abstain = false;
    /// One a class; they sum to 1.
    std::vector<float> probabilities;
};

/// A prompt and the index of its class, to learn from.
struct LabelledPrompt {
    std::string prompt;
    size_t class_index = 0;
};

/// Options of fitting a calibration; see slm_calibration_options.
struct CalibrationOptions {
    int32_t score = SLM_SCORE_JOINT;
    /// The share of wrong decisions that is accepted among those that do not abstain; 0 never abstains.
    double risk = 0.1;
    /// The probability with which that share is kept to.
    double confidence = 0.9;
    std::optional<Cancel> cancel;
};

/// What the scores of a closed set of labels mean for one model and one prompt. Made by Model::load_calibration and
/// Model::calibrate. Any number of threads may use it.
class Calibration {
  public:
    /// Writes it to a file, which is complete or as it was before.
    void save(std::string_view path) const {
        const slm_str text = detail::text(path);
        detail::check([&](slm_error **error) { return slm_calibration_save(handle_.get(), text.data, text.len, error); });
    }

    /// What its file holds.
    std::string json() const {
        return detail::take([&](slm_string *text, slm_error **error) {
            return slm_calibration_json(handle_.get(), text, error);
        });
    }

    /// What it tells of itself.
    slm_calibration_facts facts() const {
        slm_calibration_facts facts{};
        detail::check([&](slm_error **error) {
            return slm_calibration_describe(handle_.get(), &facts, sizeof facts, error);
        });
        return facts;
    }

    /// The name of a class; empty for an index that no class has.
    std::string class_name(size_t index) const {
        return std::string(detail::view(slm_calibration_class(handle_.get(), index)));
    }

    /// The handle in C, owned by this object.
    const slm_calibration *handle() const noexcept { return handle_.get(); }

  private:
    friend class Model;
    explicit Calibration(const slm_calibration *handle) : handle_(handle) {}

    detail::Owned<const slm_calibration> handle_;
};

/// Which label fits, and how probable each is.
struct Classification {
    /// The index of the most probable label.
    size_t index = 0;
    /// One a label; they sum to 1.
    std::vector<float> probabilities;
};

/// A text, and the JSON object that an extraction from it should give.
struct Example {
    std::string source;
    std::string value;
};

/// What was found in a text; see slm_extract.
struct Extraction {
    /// A JSON object, with null for every field that the text does not contain.
    std::string value;
    /// A JSON array with an object for each value of the model's answer: `path`, `value`, `support`.
    std::string fields;
    /// `SLM_COMPLETION_...`.
    int32_t completion = 0;
};

/// An answer as it is made. Iterating gives its text piece by piece; a piece is valid until the next.
class Stream {
  public:
    /// The next event, valid until the next call; NULL after the last. The session is in use until then, or until the
    /// stream is destroyed.
    const slm_event *next() {
        const slm_event *event = nullptr;
        if (handle_ == nullptr) return event;
        detail::check([&](slm_error **error) { return slm_stream_next(handle_.get(), &event, error); });
        if (event == nullptr) {
            handle_.reset();
        } else if (event->kind == SLM_EVENT_FINISHED) {
            finish_reason_ = event->finish_reason;
            completion_ = event->completion;
            seed_ = event->seed;
            if (event->statistics != nullptr) statistics_ = *event->statistics;
        }
        return event;
    }

    /// The next piece of text; empty at the end.
    std::string_view next_text() {
        while (const slm_event *event = next())
            if (event->kind == SLM_EVENT_TEXT) return detail::view(event->text);
        return {};
    }

    /// The rest of the answer.
    std::string text() {
        std::string all;
        for (std::string_view piece : *this) all += piece;
        return all;
    }

    /// `SLM_FINISH_...` once the answer is complete, 0 before.
    int32_t finish_reason() const noexcept { return finish_reason_; }
    /// `SLM_COMPLETION_...`, whether the answer is whole, once it has ended; 0 before.
    int32_t completion() const noexcept { return completion_; }
    /// The seed that gives this answer again, once it is complete.
    uint64_t seed() const noexcept { return seed_; }
    /// Counts and times, once the answer is complete.
    const std::optional<slm_statistics> &statistics() const noexcept { return statistics_; }

    /// An input iterator over the pieces of text.
    class iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = std::string_view;
        using difference_type = std::ptrdiff_t;
        using pointer = const std::string_view *;
        using reference = const std::string_view &;

        iterator() = default;
        explicit iterator(Stream *stream) : stream_(stream) { ++*this; }
        reference operator*() const noexcept { return piece_; }
        pointer operator->() const noexcept { return &piece_; }
        iterator &operator++() {
            piece_ = stream_->next_text();
            if (piece_.empty()) stream_ = nullptr;
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(const iterator &other) const noexcept { return stream_ == other.stream_; }
        bool operator!=(const iterator &other) const noexcept { return stream_ != other.stream_; }

      private:
        Stream *stream_ = nullptr;
        std::string_view piece_;
    };

    iterator begin() { return iterator(this); }
    iterator end() const noexcept { return {}; }
    /// The handle in C, owned by this object; NULL after the end.
    slm_stream *handle() const noexcept { return handle_.get(); }

  private:
    friend class Session;
    explicit Stream(slm_stream *handle) : handle_(handle) {}

    detail::Owned<slm_stream> handle_;
    int32_t finish_reason_ = 0;
    int32_t completion_ = 0;
    uint64_t seed_ = 0;
    std::optional<slm_statistics> statistics_;
};

/// A conversation with a model and its KV cache.
class Session {
  public:
    /// Answers the user's next message in the conversation that the session keeps.
    Stream turn(std::string_view message, const GenerateOptions &options = {}) {
        return open(options, [&](const slm_generate_options *c, slm_stream **stream, slm_error **error) {
            const slm_str text = detail::text(message);
            return slm_turn_stream(handle_.get(), text.data, text.len, c, stream, error);
        });
    }

    /// Answers a whole conversation, which the model's chat template turns into a prompt.
    Stream chat(const std::vector<Message> &messages, const GenerateOptions &options = {}) {
        const auto list = to_c(messages);
        return open(options, [&](const slm_generate_options *c, slm_stream **stream, slm_error **error) {
            return slm_chat_stream(handle_.get(), list.data(), list.size(), c, stream, error);
        });
    }

    /// Answers a prompt that is taken as it is: it must not hold what a stranger wrote.
    Stream generate(std::string_view prompt, const GenerateOptions &options = {}) {
        return open(options, [&](const slm_generate_options *c, slm_stream **stream, slm_error **error) {
            const slm_str text = detail::text(prompt);
            return slm_stream_new(handle_.get(), text.data, text.len, c, stream, error);
        });
    }

    /// Decides for the class of a prompt that is taken as it is. How labels are scored is the calibration's to say.
    Decision decide(std::string_view prompt, const Calibration &calibration, const ClassifyOptions &options = {}) {
        return decide(calibration, options,
                      [&](const slm_classify_options *c, slm_decision *decision, float *probabilities, slm_error **error) {
                          const slm_str text = detail::text(prompt);
                          return slm_decide(handle_.get(), text.data, text.len, calibration.handle(), c, decision,
                                            sizeof *decision, probabilities, error);
                      });
    }

    /// Decides for the class of a conversation.
    Decision decide(const std::vector<Message> &messages, const Calibration &calibration,
                    const ClassifyOptions &options = {}) {
        const auto list = to_c(messages);
        return decide(calibration, options,
                      [&](const slm_classify_options *c, slm_decision *decision, float *probabilities, slm_error **error) {
                          return slm_chat_decide(handle_.get(), list.data(), list.size(), calibration.handle(), c, decision,
                                                 sizeof *decision, probabilities, error);
                      });
    }

    /// Scores labels as continuations of a prompt that is taken as it is.
    Classification classify(std::string_view prompt, const std::vector<std::string> &labels,
                            const ClassifyOptions &options = {}) {
        return score(labels, options,
                     [&](const slm_str *list, const slm_classify_options *c, float *probabilities, size_t *best,
                         slm_error **error) {
                         const slm_str text = detail::text(prompt);
                         return slm_classify(handle_.get(), text.data, text.len, list, labels.size(), c, probabilities, best,
                                             error);
                     });
    }

    /// Scores labels as answers to a conversation.
    Classification classify(const std::vector<Message> &messages, const std::vector<std::string> &labels,
                            const ClassifyOptions &options = {}) {
        const auto conversation = to_c(messages);
        return score(labels, options,
                     [&](const slm_str *list, const slm_classify_options *c, float *probabilities, size_t *best,
                         slm_error **error) {
                         return slm_chat_classify(handle_.get(), conversation.data(), conversation.size(), list,
                                                  labels.size(), c, probabilities, best, error);
                     });
    }

    /// Takes the extractor's fields out of `source` and looks each value up in it. The options must have no grammar.
    Extraction extract(const Extractor &extractor, std::string_view source, const GenerateOptions &options = {}) {
        Extraction found;
        with_options(options, [&](const slm_generate_options *c) {
            const slm_str text = detail::text(source);
            found.fields = detail::take([&](slm_string *fields, slm_error **error) {
                slm_status status = SLM_OK;
                // On failure no output was written.
                found.value = detail::take_or(status, [&](slm_string *value) {
                    return slm_extract(handle_.get(), extractor.handle(), text.data, text.len, c, value, fields,
                                       &found.completion, error);
                });
                return status;
            });
        });
        return found;
    }

    /// The logits after each of the last `last` tokens: `last` rows of `vocabulary_size` numbers.
    std::vector<float> logits(const std::vector<uint32_t> &tokens, size_t last, size_t vocabulary_size) {
        const bool fits = vocabulary_size == 0 || last <= std::numeric_limits<size_t>::max() / sizeof(float) / vocabulary_size;
        // The library refuses an impossible `last` by itself, given any array.
        std::vector<float> rows(fits && last > 0 && last <= tokens.size() ? last * vocabulary_size : 1);
        detail::check([&](slm_error **error) {
            return slm_session_logits(handle_.get(), tokens.data(), tokens.size(), last, nullptr, rows.data(), rows.size(),
                                      error);
        });
        return rows;
    }

    /// The conversation that the session keeps, as a JSON array.
    std::string history() {
        return detail::take([&](slm_string *text, slm_error **error) {
            return slm_session_history(handle_.get(), text, error);
        });
    }

    /// Replaces the conversation that the session keeps.
    void set_history(const std::vector<Message> &messages) {
        const auto list = to_c(messages);
        detail::check([&](slm_error **error) {
            return slm_session_set_history(handle_.get(), list.data(), list.size(), error);
        });
    }

    /// Begins a new conversation.
    void reset() {
        detail::check([&](slm_error **error) { return slm_session_reset(handle_.get(), error); });
    }

    /// Forgets the cached tokens from position `length` on.
    void rewind(uint64_t length) {
        detail::check([&](slm_error **error) { return slm_session_rewind(handle_.get(), length, error); });
    }

    /// How many tokens are in the KV cache.
    uint64_t length() {
        uint64_t length = 0;
        detail::check([&](slm_error **error) { return slm_session_length(handle_.get(), &length, error); });
        return length;
    }

    /// Counts and times of the last answer.
    slm_statistics statistics() {
        slm_statistics statistics{};
        detail::check([&](slm_error **error) {
            return slm_session_statistics(handle_.get(), &statistics, sizeof statistics, error);
        });
        return statistics;
    }

    /// The handle in C, owned by this object.
    slm_session *handle() const noexcept { return handle_.get(); }

  private:
    friend class Model;
    explicit Session(slm_session *handle) : handle_(handle) {}

    static std::vector<slm_message> to_c(const std::vector<Message> &messages) {
        std::vector<slm_message> list;
        list.reserve(messages.size());
        for (const Message &message : messages) list.push_back({detail::text(message.role), detail::text(message.content)});
        return list;
    }

    template <typename Function> static void with_options(const GenerateOptions &options, Function &&function) {
        auto c = detail::defaults(slm_generate_options_init);
        c.max_tokens = options.max_tokens;
        c.flags = options.ignore_stop_tokens ? SLM_IGNORE_STOP_TOKENS : 0;
        c.log_probabilities = options.log_probabilities.value_or(-1);
        c.deadline_ms = detail::milliseconds(options.deadline);
        c.cancel = options.cancel ? options.cancel->handle() : nullptr;
        std::vector<slm_str> stop;
        stop.reserve(options.stop.size());
        for (const std::string &text : options.stop) stop.push_back(detail::text(text));
        c.stop = stop.data();
        c.stop_count = stop.size();
        c.stop_tokens = options.stop_tokens.data();
        c.stop_token_count = options.stop_tokens.size();
        std::optional<slm_sampling_options> sampling;
        if (options.sampling) sampling = options.sampling->to_c();
        c.sampling = sampling ? &*sampling : nullptr;
        c.grammar = options.grammar ? options.grammar->handle() : nullptr;
        c.draft_tokens = options.draft_tokens;
        function(&c);
    }

    template <typename Function> static Stream open(const GenerateOptions &options, Function &&function) {
        slm_stream *stream = nullptr;
        with_options(options, [&](const slm_generate_options *c) {
            detail::check([&](slm_error **error) { return function(c, &stream, error); });
        });
        return Stream(stream);
    }

    template <typename Function>
    static Classification score(const std::vector<std::string> &labels, const ClassifyOptions &options,
                                Function &&function) {
        auto c = detail::defaults(slm_classify_options_init);
        c.score = options.score;
        c.deadline_ms = detail::milliseconds(options.deadline);
        c.cancel = options.cancel ? options.cancel->handle() : nullptr;
        std::vector<slm_str> list;
        list.reserve(labels.size());
        for (const std::string &label : labels) list.push_back(detail::text(label));
        Classification result;
        // One more, so that the array has an address without labels too.
        result.probabilities.resize(labels.size() + 1);
        detail::check([&](slm_error **error) {
            return function(list.data(), &c, result.probabilities.data(), &result.index, error);
        });
        result.probabilities.resize(labels.size());
        return result;
    }

    template <typename Function>
    static Decision decide(const Calibration &calibration, const ClassifyOptions &options, Function &&function) {
        auto c = detail::defaults(slm_classify_options_init);
        c.deadline_ms = detail::milliseconds(options.deadline);
        c.cancel = options.cancel ? options.cancel->handle() : nullptr;
        slm_decision found{};
        Decision result;
        result.probabilities.resize(calibration.facts().class_count);
        detail::check([&](slm_error **error) { return function(&c, &found, result.probabilities.data(), error); });
        result.index = static_cast<size_t>(found.class_index);
        result.label = calibration.class_name(result.index);
        result.probability = found.probability;
        result.abstain = found.abstain != 0;
        return result;
    }

    detail::Owned<slm_session> handle_;
};

/// A loaded model. Copies share it, and sessions keep it loaded.
class Model {
  public:
    /// Loads the model in a directory, named in UTF-8.
    static Model load(std::string_view directory, const LoadOptions &options = {}) {
        std::vector<slm_option> pairs;
        const slm_model_options c = options.to_c(pairs);
        const slm_str path = detail::text(directory);
        const slm_model *model = nullptr;
        detail::check([&](slm_error **error) { return slm_model_load(path.data, path.len, &c, &model, error); });
        return Model(model);
    }

    /// Loads a model whose files `source` reads, on this thread and before the call returns. What the source throws is
    /// thrown on.
    static Model load_from(Source &source, const LoadOptions &options = {}) {
        std::vector<slm_option> pairs;
        const slm_model_options c = options.to_c(pairs);
        detail::Reader reader{source, nullptr};
        auto callbacks = detail::defaults(slm_source_init);
        callbacks.user_data = &reader;
        callbacks.size = detail::Reader::size;
        callbacks.read = detail::Reader::read;
        const slm_model *model = nullptr;
        detail::check([&](slm_error **error) {
            const slm_status status = slm_model_load_from(&callbacks, &c, &model, error);
            if (reader.thrown == nullptr) return status;
            slm_error_free(*error);
            std::rethrow_exception(reader.thrown);
        });
        return Model(model);
    }

    /// What loading and a session of `positions` tokens would take, without loading.
    static slm_estimate estimate(std::string_view directory, uint64_t positions, const LoadOptions &options = {}) {
        std::vector<slm_option> pairs;
        const slm_model_options c = options.to_c(pairs);
        const slm_str path = detail::text(directory);
        slm_estimate estimate{};
        detail::check([&](slm_error **error) {
            return slm_model_estimate(path.data, path.len, &c, positions, &estimate, sizeof estimate, error);
        });
        return estimate;
    }

    /// A conversation with an empty KV cache.
    Session session(const SessionOptions &options = {}) const {
        auto c = detail::defaults(slm_session_options_init);
        c.prefill_chunk = options.prefill_chunk;
        c.context = options.context;
        std::optional<slm_sampling_options> sampling;
        if (options.sampling) sampling = options.sampling->to_c();
        c.sampling = sampling ? &*sampling : nullptr;
        c.system = detail::text(options.system);
        c.template_options = detail::text(options.template_options);
        slm_session *session = nullptr;
        detail::check([&](slm_error **error) { return slm_session_new(handle_.get(), &c, &session, error); });
        return Session(session);
    }

    /// Reads a calibration that was made for this model. `prompt` identifies the form of the prompts that it is for; empty
    /// takes one for any.
    Calibration load_calibration(std::string_view path, std::string_view prompt = {}) const {
        const slm_str file = detail::text(path), form = detail::text(prompt);
        const slm_calibration *calibration = nullptr;
        detail::check([&](slm_error **error) {
            return slm_calibration_load(handle_.get(), file.data, file.len, form.data, form.len, &calibration, error);
        });
        return Calibration(calibration);
    }

    /// Reads a calibration from the text of its file.
    Calibration parse_calibration(std::string_view json, std::string_view prompt = {}) const {
        const slm_str text = detail::text(json), form = detail::text(prompt);
        const slm_calibration *calibration = nullptr;
        detail::check([&](slm_error **error) {
            return slm_calibration_parse(handle_.get(), text.data, text.len, form.data, form.len, &calibration, error);
        });
        return Calibration(calibration);
    }

    /// Learns a calibration from labelled examples; see slm_calibration_fit. `session` is one of this model, the first labels
    /// are those of the classes, and `prompt` is any text that identifies the form of the prompts.
    Calibration calibrate(Session &session, const std::vector<std::string> &classes, const std::vector<std::string> &labels,
                          const std::vector<LabelledPrompt> &examples, std::string_view prompt,
                          const CalibrationOptions &options = {}) const {
        auto c = detail::defaults(slm_calibration_options_init);
        c.score = options.score;
        c.risk = options.risk;
        c.confidence = options.confidence;
        c.cancel = options.cancel ? options.cancel->handle() : nullptr;
        const auto texts = [](const std::vector<std::string> &list) {
            std::vector<slm_str> views;
            views.reserve(list.size());
            for (const std::string &text : list) views.push_back(detail::text(text));
            return views;
        };
        const auto class_list = texts(classes), label_list = texts(labels);
        std::vector<slm_labelled_prompt> list;
        list.reserve(examples.size());
        for (const LabelledPrompt &example : examples) list.push_back({detail::text(example.prompt), example.class_index});
        const slm_str form = detail::text(prompt);
        const slm_calibration *calibration = nullptr;
        detail::check([&](slm_error **error) {
            return slm_calibration_fit(handle_.get(), session.handle(), form.data, form.len, class_list.data(),
                                       class_list.size(), label_list.data(), label_list.size(), list.data(), list.size(), &c,
                                       &calibration, error);
        });
        return Calibration(calibration);
    }

    /// A grammar for answers of the model; `kind` is one of `SLM_GRAMMAR_...` and says what `source` is.
    Grammar grammar(int32_t kind, std::string_view source) const {
        const slm_str text = detail::text(source);
        const slm_grammar *grammar = nullptr;
        detail::check([&](slm_error **error) {
            return slm_grammar_new(handle_.get(), kind, text.data, text.len, &grammar, error);
        });
        return Grammar(grammar);
    }

    /// A grammar of which the answers are these texts and no others.
    Grammar choices(const std::vector<std::string> &choices) const {
        std::vector<slm_str> list;
        list.reserve(choices.size());
        for (const std::string &choice : choices) list.push_back(detail::text(choice));
        const slm_grammar *grammar = nullptr;
        detail::check([&](slm_error **error) {
            return slm_grammar_choices(handle_.get(), list.data(), list.size(), &grammar, error);
        });
        return Grammar(grammar);
    }

    /// An extractor of the fields that `schema`, the JSON schema of an object, names under `properties`.
    Extractor extractor(std::string_view schema, const std::vector<Example> &examples = {},
                        std::string_view instructions = {}) const {
        std::vector<slm_example> list;
        list.reserve(examples.size());
        for (const Example &example : examples) list.push_back({detail::text(example.source), detail::text(example.value)});
        const slm_str text = detail::text(schema), words = detail::text(instructions);
        const slm_extractor *extractor = nullptr;
        detail::check([&](slm_error **error) {
            return slm_extractor_new(handle_.get(), text.data, text.len, words.data, words.len, list.data(), list.size(),
                                     &extractor, error);
        });
        return Extractor(extractor);
    }

    /// What the model is and how it runs, as a JSON object.
    std::string info() const {
        return detail::take([&](slm_string *text, slm_error **error) { return slm_model_info(handle_.get(), text, error); });
    }

    /// Vocabulary, context and other sizes.
    slm_sizes sizes() const {
        slm_sizes sizes{};
        detail::check([&](slm_error **error) { return slm_model_sizes(handle_.get(), &sizes, sizeof sizes, error); });
        return sizes;
    }

    /// How the model's publisher recommends to choose tokens.
    Sampling recommended_sampling() const {
        auto c = detail::defaults(slm_sampling_options_init);
        detail::check([&](slm_error **error) { return slm_model_sampling(handle_.get(), &c, sizeof c, error); });
        Sampling sampling;
        sampling.temperature = c.temperature;
        sampling.top_p = c.top_p;
        sampling.min_p = c.min_p;
        sampling.repetition_penalty = c.repetition_penalty;
        sampling.frequency_penalty = c.frequency_penalty;
        sampling.presence_penalty = c.presence_penalty;
        sampling.top_k = c.top_k;
        sampling.penalty_window = c.penalty_window;
        sampling.seed = c.seed;
        return sampling;
    }

    /// How many tokens `text` has; `mode` is one of `SLM_TOKENIZE_...`.
    size_t count_tokens(std::string_view text, int32_t mode = SLM_TOKENIZE_PROMPT) const {
        const slm_str c = detail::text(text);
        size_t count = 0;
        detail::check([&](slm_error **error) {
            return slm_count_tokens(handle_.get(), c.data, c.len, mode, &count, error);
        });
        return count;
    }

    /// The tokens of `text`; `mode` is one of `SLM_TOKENIZE_...`.
    std::vector<uint32_t> tokenize(std::string_view text, int32_t mode = SLM_TOKENIZE_PROMPT) const {
        const slm_str c = detail::text(text);
        std::vector<uint32_t> tokens(count_tokens(text, mode));
        size_t count = 0;
        detail::check([&](slm_error **error) {
            return slm_tokenize(handle_.get(), c.data, c.len, mode, tokens.data(), tokens.size(), &count, error);
        });
        tokens.resize(count);
        return tokens;
    }

    /// The text of tokens.
    std::string detokenize(const std::vector<uint32_t> &tokens, bool skip_special_tokens = false) const {
        const uint32_t flags = skip_special_tokens ? SLM_SKIP_SPECIAL_TOKENS : 0;
        return detail::take([&](slm_string *text, slm_error **error) {
            return slm_detokenize(handle_.get(), tokens.data(), tokens.size(), flags, text, error);
        });
    }

    /// The prompt that the chat template makes of a conversation.
    std::string render(const std::vector<Message> &messages, std::string_view template_options = {}) const {
        const auto list = Session::to_c(messages);
        const slm_str options = detail::text(template_options);
        return detail::take([&](slm_string *text, slm_error **error) {
            return slm_render_chat(handle_.get(), list.data(), list.size(), options.data, options.len, text, error);
        });
    }

    /// The handle in C, valid as long as a copy lives.
    const slm_model *handle() const noexcept { return handle_.get(); }

  private:
    explicit Model(const slm_model *handle) : handle_(handle, detail::Deleter{}) {}

    std::shared_ptr<const slm_model> handle_;
};

} // namespace edgeslm

#endif // EDGESLM_HPP
