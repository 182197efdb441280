// The promises of edgeslm.hpp, as a C++ program meets them: contract MODEL_DIRECTORY.
// Prints the first promise that is broken and exits with 1.
#include <edgeslm.hpp>
#include <edgeslm.hpp>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

using edgeslm::Cancel;
using edgeslm::GenerateOptions;
using edgeslm::Message;
using edgeslm::Model;
using edgeslm::Sampling;
using edgeslm::Session;
using edgeslm::Stream;

static_assert(!std::is_copy_constructible_v<Session> && std::is_nothrow_move_constructible_v<Session>);
static_assert(!std::is_copy_constructible_v<Stream> && std::is_move_assignable_v<Stream>);
static_assert(std::is_copy_constructible_v<Model> && std::is_copy_constructible_v<Cancel>);
static_assert(std::is_base_of_v<std::exception, edgeslm::Error>);

const std::string question = "Is the door open?";

void require(bool holds, const char *promise, int line) {
    if (holds) return;
    std::cout << "contract.cpp:" << line << ": broken: " << promise << '\n';
    std::exit(EXIT_FAILURE);
}

#define REQUIRE(...) require((__VA_ARGS__), #__VA_ARGS__, __LINE__)

// Requires that a call throws an error of `status`, and gives the error.
template <typename Function> edgeslm::Error thrown(slm_status status, Function &&function) {
    try {
        function();
    } catch (const edgeslm::Error &error) {
        if (error.status() != status) std::cout << "not " << slm_status_name(status) << ": " << error.what() << '\n';
        REQUIRE(error.status() == status && !error.message().empty());
        REQUIRE(std::string(error.what()).find(error.message()) != std::string::npos);
        return error;
    }
    REQUIRE(!"the call fails");
    std::abort();
}

GenerateOptions tokens(uint32_t count) {
    GenerateOptions options;
    options.max_tokens = count;
    options.ignore_stop_tokens = true;
    return options;
}

bool contains(const std::string &text, std::string_view part) { return text.find(part) != std::string::npos; }

void errors(const std::string &directory, const Model &model) {
    const auto missing = thrown(SLM_NOT_FOUND, [] { Model::load("/nowhere/at all"); });
    REQUIRE(contains(missing.file(), "nowhere") && contains(missing.what(), "nowhere"));
    edgeslm::LoadOptions load;
    load.kernels = "x87";
    const auto kernels = thrown(SLM_INVALID_ARGUMENT, [&] { Model::load(directory, load); });
    REQUIRE(!kernels.hint().empty() && contains(kernels.what(), kernels.hint()));
    load = {};
    load.memory_budget = 1;
    Session poor = Model::load(directory, load).session();
    thrown(SLM_MEMORY_BUDGET, [&] { poor.generate(question).text(); });

    Session session = model.session();
    thrown(SLM_INVALID_ARGUMENT, [&] { session.generate(""); });
    GenerateOptions cold;
    cold.sampling = Sampling{};
    cold.sampling->temperature = -1;
    REQUIRE(contains(thrown(SLM_INVALID_ARGUMENT, [&] { session.generate(question, cold); }).message(), "temperature"));
    thrown(SLM_INVALID_UTF8, [&] { session.generate("\xff"); });
    thrown(SLM_INVALID_ARGUMENT, [&] { session.chat({{"operator", question}}); });
    // An error outlives what it came from.
    const edgeslm::Error copy = missing;
    REQUIRE(std::string(copy.what()) == missing.what());
}

void load_options(const std::string &directory) {
    edgeslm::LoadOptions load;
    std::vector<slm_option> pairs;
    slm_model_options options = load.to_c(pairs);
    REQUIRE(options.accuracy == SLM_ACCURACY_DEFAULT && options.kv_precision == SLM_KV_AUTO);
    REQUIRE(options.processors == nullptr && options.processor_count == 0 && options.priority == SLM_PRIORITY_NORMAL);
    load.accuracy = edgeslm::Accuracy::precise;
    load.kv_precision = edgeslm::KvPrecision::int8;
    load.processors = {3, 0};
    load.priority = edgeslm::ThreadPriority::low;
    options = load.to_c(pairs);
    REQUIRE(options.accuracy == SLM_ACCURACY_PRECISE && options.kv_precision == SLM_KV_INT8);
    REQUIRE(options.processor_count == 2 && options.processors[0] == 3 && options.processors[1] == 0);
    REQUIRE(options.priority == SLM_PRIORITY_LOW);

    // An empty list is a list, as it is in C.
    load = {};
    load.processors.emplace();
    const auto refused = thrown(SLM_INVALID_ARGUMENT, [&] { Model::load(directory, load); });
    REQUIRE(slm_model_options_init(&options, sizeof options, nullptr) == SLM_OK);
    const uint32_t none = 0;
    options.processors = &none;
    const slm_model *model = nullptr;
    slm_error *error = nullptr;
    REQUIRE(slm_model_load(directory.c_str(), SLM_NUL, &options, &model, &error) == SLM_INVALID_ARGUMENT);
    REQUIRE(refused.message() == slm_error_message(error).data && refused.hint() == slm_error_hint(error).data);
    slm_error_free(error);
}

void texts(const std::string &directory, const Model &model) {
    REQUIRE(contains(std::string(edgeslm::build_info()), edgeslm::version()));
    REQUIRE(contains(model.info(), "\"vocabulary_size\":" + std::to_string(model.sizes().vocabulary_size)));
    const auto ids = model.tokenize("The door is open.", SLM_TOKENIZE_PLAIN);
    REQUIRE(ids.size() > 3 && ids.size() == model.count_tokens("The door is open.", SLM_TOKENIZE_PLAIN));
    REQUIRE(model.detokenize(ids) == "The door is open.");
    REQUIRE(model.tokenize({}, SLM_TOKENIZE_PLAIN).empty() && model.detokenize({}).empty());
    REQUIRE(contains(model.render({{"user", question}}), question));
    const auto estimate = Model::estimate(directory, 64);
    REQUIRE(estimate.total == estimate.weights + estimate.cache + estimate.scratch + estimate.text);
    REQUIRE(model.recommended_sampling().top_p > 0);
}

void streams(const Model &model) {
    Session session = model.session();
    Stream stream = session.generate(question, tokens(12));
    REQUIRE(stream.finish_reason() == 0 && !stream.statistics());
    std::string pieces;
    for (std::string_view piece : stream) {
        REQUIRE(!piece.empty());
        pieces += piece;
    }
    REQUIRE(stream.finish_reason() == SLM_FINISH_MAX_TOKENS && stream.statistics()->generated_tokens == 12);
    REQUIRE(stream.next() == nullptr && stream.next_text().empty() && stream.begin() == stream.end());
    // What has ended leaves its session free; what has not keeps it.
    session.reset();
    stream = session.generate(question, tokens(12));
    REQUIRE(!stream.next_text().empty() && stream.handle() != nullptr);
    thrown(SLM_BUSY, [&] { session.reset(); });
    stream = model.session().generate(question, tokens(12));
    REQUIRE(stream.text() == pieces);
    session.reset();
    REQUIRE(session.generate(question, tokens(12)).text() == pieces && session.statistics().generated_tokens == 12);

    auto options = tokens(3);
    options.log_probabilities = 4;
    size_t count = 0;
    Stream events = session.generate(question, options);
    while (const slm_event *event = events.next()) {
        if (event->kind != SLM_EVENT_TOKEN) continue;
        REQUIRE(event->top_count == 4 && event->top[0].token == event->token && event->log_probability < 0);
        count++;
    }
    REQUIRE(count == 3);
}

void sampling(const Model &model) {
    Session session = model.session();
    const auto answer = [&](uint64_t seed) {
        auto options = tokens(20);
        options.sampling = Sampling{};
        options.sampling->temperature = 1.5f;
        options.sampling->seed = seed;
        Stream stream = session.generate(question, options);
        std::string text = stream.text();
        REQUIRE(stream.seed() == seed);
        return text;
    };
    REQUIRE(answer(1) == answer(1));
    REQUIRE(answer(1) != answer(2) || answer(1) != answer(3));
    auto options = tokens(1);
    options.sampling = Sampling{};
    const uint32_t chosen = 300;
    options.sampling->logit_bias = {{chosen, 1000.0f}};
    REQUIRE(session.generate(question, options).text() == model.detokenize({chosen}));
    const std::string text = session.generate(question, tokens(8)).text();
    options = tokens(8);
    options.stop = {"never", text.substr(0, 1)};
    Stream stopped = session.generate(question, options);
    REQUIRE(stopped.text().empty() && stopped.finish_reason() == SLM_FINISH_STOP_STRING);
}

void classifications(const Model &model) {
    Session session = model.session();
    const std::vector<std::string> labels = {" urgent", " routine", " nothing"};
    const auto result = session.classify("The pump is leaking. This is", labels);
    const auto &p = result.probabilities;
    REQUIRE(p.size() == 3 && std::fabs(std::accumulate(p.begin(), p.end(), 0.0) - 1) < 1e-5);
    REQUIRE(result.index == static_cast<size_t>(std::max_element(p.begin(), p.end()) - p.begin()));
    edgeslm::ClassifyOptions options;
    options.score = SLM_SCORE_TRIE_NORMALISED;
    REQUIRE(session.classify({{"user", question}}, {"yes", "no"}, options).probabilities.size() == 2);
    thrown(SLM_INVALID_ARGUMENT, [&] { session.classify("x", std::vector<std::string>{}); });
    options.cancel = Cancel();
    options.cancel->signal();
    thrown(SLM_CANCELLED, [&] { session.classify("The pump is leaking.", labels, options); });
}

void calibrations(const Model &model) {
    Session session = model.session();
    const std::vector<std::string> classes = {"urgent", "routine"}, labels = {" urgent", " routine", " nothing"};
    std::vector<edgeslm::LabelledPrompt> examples;
    for (size_t i = 0; i < 24; i++)
        examples.push_back({"Case " + std::to_string(i) + (i % 2 ? ": it leaks" : ": it hums") + ". This is", i % 2});
    edgeslm::CalibrationOptions options;
    options.risk = 0.4;
    const auto calibration = model.calibrate(session, classes, labels, examples, "pumps 1", options);
    const auto facts = calibration.facts();
    REQUIRE(facts.class_count == 2 && facts.label_count == 3 && facts.examples == 24 && facts.risk == 0.4);
    REQUIRE(calibration.class_name(1) == "routine" && calibration.class_name(2).empty());
    const auto decision = session.decide(examples[3].prompt, calibration);
    const auto &p = decision.probabilities;
    REQUIRE(p.size() == 2 && std::fabs(p[0] + p[1] - 1) < 1e-5 && p[decision.index] == decision.probability);
    REQUIRE(decision.label == classes[decision.index] && decision.abstain == (decision.probability < facts.threshold));
    const auto parsed = model.parse_calibration(calibration.json(), "pumps 1");
    REQUIRE(session.decide(examples[3].prompt, parsed).probabilities == p);
    REQUIRE(session.decide({{"user", question}}, parsed).probabilities.size() == 2);
    thrown(SLM_INVALID_ARGUMENT, [&] { model.parse_calibration(calibration.json(), "pumps 2"); });
    thrown(SLM_INVALID_MODEL, [&] { model.parse_calibration("{}"); });
    thrown(SLM_NOT_FOUND, [&] { model.load_calibration("absent.calibration.json"); });
    options.cancel = Cancel();
    options.cancel->signal();
    thrown(SLM_CANCELLED, [&] { model.calibrate(session, classes, labels, examples, "pumps 1", options); });
}

void logits(const Model &model) {
    Session session = model.session();
    const auto prompt = model.tokenize(question);
    const size_t width = model.sizes().vocabulary_size;
    const auto rows = session.logits(prompt, 2, width);
    REQUIRE(rows.size() == 2 * width && session.length() == prompt.size());
    const auto last = rows.begin() + static_cast<std::ptrdiff_t>(width);
    const auto best = static_cast<uint32_t>(std::max_element(last, rows.end()) - last);
    Stream greedy = session.generate(question, tokens(1));
    const slm_event *event = greedy.next();
    while (event != nullptr && event->kind != SLM_EVENT_TOKEN) event = greedy.next();
    REQUIRE(event != nullptr && event->token == best);
    Session other = model.session();
    thrown(SLM_INVALID_ARGUMENT, [&] { other.logits(prompt, prompt.size() + 1, width); });
    thrown(SLM_INVALID_ARGUMENT, [&] { other.logits(prompt, 0, width); });
    thrown(SLM_BUFFER_TOO_SMALL, [&] { other.logits(prompt, 1, width - 1); });
}

void history(const Model &model) {
    edgeslm::SessionOptions options;
    options.system = "Be brief.";
    Session session = model.session(options);
    const std::string answer = session.turn(question, tokens(5)).text();
    REQUIRE(contains(session.history(), "Be brief.") && contains(session.history(), question));
    REQUIRE(session.length() > 3);
    session.rewind(3);
    REQUIRE(session.length() == 3);
    session.reset();
    REQUIRE(session.length() == 0 && !contains(session.history(), question) && contains(session.history(), "Be brief."));
    const std::vector<Message> messages = {{"system", "Be brief."}, {"user", question}};
    REQUIRE(session.chat(messages, tokens(5)).text() == answer);
    session.set_history(messages);
    REQUIRE(contains(session.history(), question));
}

void moves(const std::string &directory) {
    Model model = Model::load(directory);
    const Model copy = model;
    Session first = model.session();
    Session second = std::move(first);
    const std::string expected = second.generate(question, tokens(6)).text();
    // The session moves while a stream on it is open, the stream moves in the middle, and the model goes first.
    Stream stream = second.generate(question, tokens(6));
    std::string text(stream.next_text());
    first = std::move(second);
    model = Model::load(directory);
    Stream moved = std::move(stream);
    for (std::string_view piece : moved) text += piece;
    REQUIRE(text == expected);
    moved = copy.session().generate(question, tokens(6));
    REQUIRE(moved.text() == expected);
    REQUIRE(first.generate(question, tokens(6)).text() == expected);
}

void cancelling(const Model &model) {
    Session session = model.session();
    const Cancel cancel;
    auto options = tokens(UINT32_MAX);
    options.cancel = cancel;
    Stream stream = session.generate(question, options);
    REQUIRE(!stream.next_text().empty());
    std::thread([cancel] { cancel.signal(); }).join();
    stream.text();
    REQUIRE(stream.finish_reason() == SLM_FINISH_CANCELLED && stream.statistics()->generated_tokens < 100);
    stream = model.session().generate(question, options);
    REQUIRE(stream.text().empty() && stream.finish_reason() == SLM_FINISH_CANCELLED);
    cancel.reset();
    options.max_tokens = 4;
    stream = model.session().generate(question, options);
    stream.text();
    REQUIRE(stream.finish_reason() == SLM_FINISH_MAX_TOKENS);
    options.deadline = std::chrono::milliseconds(0);
    options.max_tokens = UINT32_MAX;
    stream = model.session().generate(question, options);
    stream.text();
    REQUIRE(stream.finish_reason() == SLM_FINISH_DEADLINE);
}

void threads(const Model &model) {
    const std::string expected = model.session().generate(question, tokens(6)).text();
    std::vector<std::string> answers(4);
    std::vector<std::thread> workers;
    for (std::string &answer : answers)
        workers.emplace_back([&answer, &model] { answer = model.session().generate(question, tokens(6)).text(); });
    for (std::thread &worker : workers) worker.join();
    REQUIRE(answers == std::vector<std::string>(4, expected));
}

} // namespace

// The files of a directory, in memory.
class Pack : public edgeslm::Source {
  public:
    std::map<std::string, std::string, std::less<>> files;
    std::string forbidden;

    std::optional<uint64_t> size(std::string_view name) override {
        const auto file = files.find(name);
        if (file == files.end()) return std::nullopt;
        return file->second.size();
    }

    size_t read(std::string_view name, uint64_t offset, void *buffer, size_t length) override {
        if (name == forbidden) throw std::runtime_error("forbidden");
        return files.find(name)->second.copy(static_cast<char *>(buffer), std::min<size_t>(length, 5000), offset);
    }
};

// A model loaded from a source answers as the directory's does; what the source throws arrives.
void sources(const std::string &directory, const Model &model) {
    Pack pack;
    for (const char *name : {"genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json"}) {
        std::ifstream file(directory + '/' + name, std::ios::binary);
        pack.files[name] = std::string(std::istreambuf_iterator<char>(file), {});
    }
    const Model loaded = Model::load_from(pack);
    REQUIRE(loaded.session().generate(question, tokens(8)).text() == model.session().generate(question, tokens(8)).text());
    pack.forbidden = "model.onnx.data";
    try {
        Model::load_from(pack);
        REQUIRE(!"the source's exception arrives");
    } catch (const std::runtime_error &error) {
        REQUIRE(std::string(error.what()) == "forbidden");
    }
    pack.files.erase("model.onnx.data");
    REQUIRE(thrown(SLM_NOT_FOUND, [&] { Model::load_from(pack); }).file() == "model.onnx.data");
}

// Answers follow their grammar, and what is extracted is checked.
void grammars(const Model &model) {
    Session session = model.session();
    GenerateOptions options = tokens(40);
    options.grammar = model.choices({"red", "green"});
    Stream chosen = session.generate(question, options);
    const std::string color = chosen.text();
    REQUIRE(color == "red" || color == "green");
    REQUIRE(chosen.finish_reason() == SLM_FINISH_GRAMMAR && chosen.completion() == SLM_COMPLETION_COMPLETE);
    options.grammar = model.grammar(SLM_GRAMMAR_REGEX, "[0-9]{3}");
    const std::string digits = session.generate(question, options).text();
    REQUIRE(digits.size() == 3 && std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c) != 0; }));
    thrown(SLM_GRAMMAR, [&] { model.grammar(SLM_GRAMMAR_JSON_SCHEMA, "{"); });
    thrown(SLM_GRAMMAR, [&] { model.choices({}); });

    const std::string schema = R"({"type": "object", "properties": {"total": {"type": "number"}}})";
    const auto extractor = model.extractor(schema, {{"Total 3", R"({"total": 3})"}}, "Find the total.");
    const edgeslm::Extraction found = session.extract(extractor, "Total 12,50", tokens(40));
    REQUIRE(found.value.rfind("{\"total\":", 0) == 0 && found.fields.find("/total") != std::string::npos);
    REQUIRE(found.completion == SLM_COMPLETION_COMPLETE || found.completion == SLM_COMPLETION_SHORTENED);
    thrown(SLM_INVALID_ARGUMENT, [&] { session.extract(extractor, "Total 12,50", tokens(1)); });
    thrown(SLM_INVALID_ARGUMENT, [&] { model.extractor("true"); });
}

int main(int, char **argv) {
    try {
        const std::string directory = argv[1];
        const Model model = Model::load(directory);
        errors(directory, model);
        load_options(directory);
        sources(directory, model);
        texts(directory, model);
        streams(model);
        sampling(model);
        classifications(model);
        calibrations(model);
        grammars(model);
        logits(model);
        history(model);
        moves(directory);
        cancelling(model);
        threads(model);
    } catch (const std::exception &error) {
        std::cout << "an error that was not expected: " << error.what() << '\n';
        return EXIT_FAILURE;
    }
    std::cout << "every promise holds\n";
}
